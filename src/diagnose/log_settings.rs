//! Where conntrack's texts about INVALID packets go, from the host's settings. They are read and never changed.

use super::conntrack::Proc;

/// What of the settings matters here, as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// `net.netfilter.nf_conntrack_log_invalid`: the number of a protocol; 0 is none, 255 all.
    pub log_invalid: Option<String>,
    /// `net.netfilter.nf_log.2` and `.10`: what logs IPv4 and IPv6.
    pub loggers: [Option<String>; 2],
    /// Whether this is the host's first network namespace: only it has the setting `nf_log_all_netns`.
    pub first_namespace: bool,
}

/// What brings the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logger {
    /// NFLOG, group 0.
    Group,
    /// The kernel's log, /dev/kmsg.
    KernelLog,
}

/// One of the two settings of loggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Why a packet's reason is not counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// The relay was told not to look.
    #[error("INVALID packets are not counted by reason: invalid-reasons is off")]
    LeftAlone,
    /// The kernel does not say.
    #[error(
        "conntrack logs no reasons: net.netfilter.nf_conntrack_log_invalid is 0; 6 logs those of TCP"
    )]
    Off,
    /// It says it of another protocol.
    #[error(
        "conntrack logs no reasons of TCP: net.netfilter.nf_conntrack_log_invalid is {0}; 6 logs those of TCP, 255 all"
    )]
    OtherProtocol(String),
    /// The setting is not there.
    #[error("there is no setting net.netfilter.nf_conntrack_log_invalid")]
    NoSetting,
    /// It says it to nobody.
    #[error(
        "conntrack's reasons are lost: {} is {logger}; nfnetlink_log would bring them here",
        .family.setting()
    )]
    NoLogger {
        /// Of which family.
        family: Family,
        /// What the setting says.
        logger: String,
    },
    /// They go to a log that other network namespaces write to, if it is written at all.
    #[error(
        "conntrack's reasons of this network namespace cannot be told from others' in the kernel's log: nfnetlink_log as {} would bring them here",
        .0.setting()
    )]
    OtherNamespaces(Family),
    /// Somebody else has the group.
    #[error("conntrack's reasons go to another program, which reads NFLOG group 0 (ulogd?)")]
    Taken,
    /// The group is not for everybody.
    #[error("reading NFLOG group 0 needs CAP_NET_ADMIN")]
    NotAllowed,
    /// The group cannot be read.
    #[error("NFLOG group 0 cannot be read: {0}")]
    Group(rustix::io::Errno),
    /// The kernel's log is not for everybody.
    #[error(
        "conntrack's reasons go to the kernel's log, and /dev/kmsg cannot be read: {0}; it needs CAP_SYSLOG where kernel.dmesg_restrict is 1; nfnetlink_log as net.netfilter.nf_log.2 and .10 would bring them here"
    )]
    KernelLog(rustix::io::Errno),
}

// === impl Family ===

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::V4 => "net.netfilter.nf_log.2",
            Self::V6 => "net.netfilter.nf_log.10",
        }
    }
}

// === impl LogSettings ===

impl LogSettings {
    /// As they are now.
    pub fn read(proc: &Proc) -> Self {
        Self {
            log_invalid: proc.setting("nf_conntrack_log_invalid"),
            loggers: ["nf_log/2", "nf_log/10"].map(|name| proc.setting(name)),
            first_namespace: proc.setting("nf_log_all_netns").is_some(),
        }
    }

    /// What brings the texts about packets of each family.
    pub fn sources(&self) -> [Result<Logger, WhyNot>; 2] {
        Family::ALL.map(|family| self.source(family))
    }

    fn source(&self, family: Family) -> Result<Logger, WhyNot> {
        match self.log_invalid.as_deref() {
            None => return Err(WhyNot::NoSetting),
            Some("0") => return Err(WhyNot::Off),
            Some("6" | "255") => {}
            Some(other) => return Err(WhyNot::OtherProtocol(other.to_owned())),
        }
        match self.loggers[family as usize].as_deref() {
            Some("nfnetlink_log") => Ok(Logger::Group),
            // As all kernels call what is now one module, nf_log_syslog.
            Some("nf_log_ipv4" | "nf_log_ipv6" | "nf_log_syslog") => match self.first_namespace {
                true => Ok(Logger::KernelLog),
                false => Err(WhyNot::OtherNamespaces(family)),
            },
            other => Err(WhyNot::NoLogger {
                family,
                logger: other.unwrap_or("missing").to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(log_invalid: &str, loggers: [&str; 2], first_namespace: bool) -> LogSettings {
        LogSettings {
            log_invalid: Some(log_invalid.to_owned()),
            loggers: loggers.map(|logger| Some(logger.to_owned())),
            first_namespace,
        }
    }

    const GROUP: [&str; 2] = ["nfnetlink_log"; 2];
    const SYSLOG: [&str; 2] = ["nf_log_ipv4", "nf_log_ipv6"];

    #[test]
    fn the_logger_of_each_family_says_where_its_texts_go() {
        for log_invalid in ["6", "255"] {
            let sources = settings(log_invalid, GROUP, false).sources();
            assert_eq!(sources, [Ok(Logger::Group), Ok(Logger::Group)]);
        }
        let mixed = settings("255", ["nfnetlink_log", "nf_log_ipv6"], true).sources();
        assert_eq!(mixed, [Ok(Logger::Group), Ok(Logger::KernelLog)]);
    }

    #[test]
    fn why_nothing_is_counted_is_told_in_one_line_that_says_what_would_help() {
        let text =
            |settings: LogSettings| settings.sources().map(|one| one.unwrap_err().to_string());
        let [v4, v6] = text(settings("0", GROUP, true));
        assert_eq!(v4, v6);
        assert!(v4.contains("nf_conntrack_log_invalid is 0"), "{v4}");
        let [v4, _] = text(settings("17", GROUP, true));
        assert!(v4.contains("is 17; 6 logs"), "{v4}");
        let [v4, v6] = text(settings("6", ["NONE", "NONE"], true));
        assert!(v4.contains("nf_log.2 is NONE"), "{v4}");
        assert!(v6.contains("nf_log.10 is NONE"), "{v6}");
        let [v4, v6] = text(settings("6", SYSLOG, false));
        assert!(v4.contains("nf_log.2 would"), "{v4}");
        assert!(v6.contains("nf_log.10 would"), "{v6}");
        let [v4, _] = text(LogSettings::default());
        assert!(v4.contains("no setting"), "{v4}");
    }
}
