//! Reads facts of this host: of the calling thread's network namespace, from /proc and from the files that say what
//! the kernel has. Nothing is changed, and nothing is loaded.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use crate::diagnose::conntrack::{Counter, Counters, Entries, Proc};
use crate::diagnose::invalid::{InvalidWatch, Tally};
use crate::diagnose::log_settings::LogSettings;
use crate::diagnose::reason::Reason;
use crate::sys::offloads::Offloads;

use super::facts::{Counted, Counts, Link, Links, Process, Seen, Settings, Tracked, per_interface};
use super::features::{IPTABLES_QUEUE, KernelTexts, MODULES, Presence};
use super::id::Id;
use super::links;

/// Where a host shows what it is.
#[derive(Debug, Clone)]
pub struct Root {
    /// /proc.
    pub proc: Proc,
    /// /lib/modules.
    pub modules: PathBuf,
    /// /boot.
    pub boot: PathBuf,
}

/// What the kernel is and has.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// What it has of what is needed.
    pub features: BTreeMap<Id, Presence>,
    /// Whether iptables can put packets into a queue.
    pub iptables_queue: Presence,
    /// Whether it loads modules when they are needed, so that to ask is to change something.
    pub loads_modules: bool,
}

/// Counters as they were when it began.
pub struct Watch {
    begun: Instant,
    counters: Result<Counters, String>,
    reverse_path: Option<u64>,
    tally: Tally,
    invalid: InvalidWatch,
}

/// What counters did meanwhile.
pub struct Watched {
    /// For how many seconds they were watched.
    pub seconds: f64,
    /// What conntrack counts.
    pub conntrack: Tracked,
    /// What the check of the way back dropped.
    pub reverse_path_drops: Seen<u64>,
}

/// Settings that are judged, those of interfaces aside.
const SETTINGS: &[&str] = &[
    "fs.pipe-max-size",
    "fs.pipe-user-pages-soft",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
    "net.core.somaxconn",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_fwmark_accept",
    "net.ipv4.tcp_max_reordering",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv6.conf.all.forwarding",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
];
/// The same of every interface.
const OF_INTERFACES: [&str; 2] = ["rp_filter", "src_valid_mark"];
const CONF: &str = "sys/net/ipv4/conf";

// === impl Root ===

impl Default for Root {
    fn default() -> Self {
        Self {
            proc: Proc::default(),
            modules: "/lib/modules".into(),
            boot: "/boot".into(),
        }
    }
}

impl Root {
    /// What the kernel is and has.
    ///
    /// # Errors
    /// If there is no /proc: then there is nothing to judge.
    pub fn kernel(&self) -> Result<Kernel, String> {
        let release = self
            .proc
            .read("sys/kernel/osrelease")
            .ok_or("/proc/sys/kernel/osrelease cannot be read")?;
        let release = release.trim().to_owned();
        let texts = self.kernel_texts(&release);
        let features = MODULES.iter().map(|(id, module)| {
            let presence = match self.is_shown(*id) {
                true => Presence::Present,
                false => module.presence(&texts),
            };
            (*id, presence)
        });
        Ok(Kernel {
            features: features.collect(),
            iptables_queue: IPTABLES_QUEUE.presence(&texts),
            loads_modules: texts.loaded.is_some(),
            release,
        })
    }

    /// What is loaded is seen by its settings, too.
    fn is_shown(&self, id: Id) -> bool {
        id == Id::Conntrack && self.proc.setting("nf_conntrack_max").is_some()
    }

    fn kernel_texts(&self, release: &str) -> KernelTexts {
        let of_modules =
            |name: &str| fs::read_to_string(self.modules.join(release).join(name)).ok();
        let config = self.proc.read_bytes("config.gz").and_then(|packed| {
            let mut text = String::new();
            GzDecoder::new(&packed[..]).read_to_string(&mut text).ok()?;
            Some(text)
        });
        let beside = || fs::read_to_string(self.boot.join(format!("config-{release}"))).ok();
        KernelTexts {
            loaded: self.proc.read("modules"),
            built_in: of_modules("modules.builtin"),
            installed: of_modules("modules.dep"),
            config: config.or_else(beside),
        }
    }

    /// The settings that are judged.
    pub fn settings(&self) -> Settings {
        let mut interfaces = self.proc.names(CONF);
        interfaces.retain(|name| !["all", "default"].contains(&name.as_str()));
        let read = |name: &str, path: PathBuf| {
            let value = self.proc.read(path)?;
            Some((
                name.to_owned(),
                value.split_whitespace().collect::<Vec<_>>().join(" "),
            ))
        };
        let mut values: Vec<_> = SETTINGS
            .iter()
            .filter_map(|name| read(name, PathBuf::from("sys").join(name.replace('.', "/"))))
            .collect();
        for interface in interfaces.iter().map(String::as_str).chain(["all"]) {
            for setting in OF_INTERFACES {
                let path = PathBuf::from(CONF).join(interface).join(setting);
                values.extend(read(&per_interface(interface, setting), path));
            }
        }
        Settings::new(values, interfaces)
    }

    /// What this process may have.
    pub fn process(&self) -> Process {
        let status = self.proc.read("thread-self/status").unwrap_or_default();
        let has = |key: &str| {
            let bits = status.lines().find_map(|line| line.strip_prefix(key));
            let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
            bits.is_some_and(|bits| bits & CapabilitySet::NET_ADMIN.bits() != 0)
        };
        Process {
            net_admin: has("CapEff:"),
            net_admin_within_reach: has("CapBnd:"),
            page: rustix::param::page_size() as u64,
            descriptors: getrlimit(Resource::Nofile).maximum,
        }
    }

    /// Tables of iptables-legacy, for IPv4 and IPv6: one a line, none if that cannot be read.
    pub fn legacy_tables(&self) -> [Option<String>; 2] {
        ["ip_tables_names", "ip6_tables_names"].map(|name| {
            let path = PathBuf::from("thread-self/net").join(name);
            match self
                .proc
                .names("thread-self/net")
                .iter()
                .any(|one| one == name)
            {
                true => self.proc.read(path),
                // Legacy iptables is not loaded.
                false => Some(String::new()),
            }
        })
    }

    /// Begins to watch counters, on the runtime of the calling thread.
    pub fn watch(&self) -> Watch {
        let tally = Tally::default();
        Watch {
            begun: Instant::now(),
            counters: self.counters(),
            reverse_path: self.reverse_path_drops(),
            invalid: InvalidWatch::open(&LogSettings::read(&self.proc), &tally),
            tally,
        }
    }

    /// Without the file, netlink would tell, for which the kernel would load a module.
    fn counters(&self) -> Result<Counters, String> {
        let is_file = self
            .proc
            .read("thread-self/net/stat/nf_conntrack")
            .is_some();
        let loaded = self.proc.read("modules");
        if let (false, Some(loaded)) = (is_file, loaded)
            && !loaded.contains("nf_conntrack_netlink")
            && self.proc.setting("nf_conntrack_max").is_some()
        {
            return Err("only loading nf_conntrack_netlink would tell".to_owned());
        }
        Counters::read(&self.proc).map_err(|error| error.to_string())
    }

    fn reverse_path_drops(&self) -> Option<u64> {
        extended(
            &self.proc.read("thread-self/net/netstat")?,
            "IPReversePathFilter",
        )
    }
}

// === impl Watch ===

impl Watch {
    /// Watches until so much time has passed since it began.
    pub async fn until(self, root: &Root, whole: Duration) -> Watched {
        let left = whole.saturating_sub(self.begun.elapsed());
        let (tally, invalid) = (&self.tally, &self.invalid);
        // A source that fails has counted what came before.
        let _ = tokio::time::timeout(left, async {
            invalid.watch(tally).await;
            std::future::pending::<()>().await;
        })
        .await;
        let seconds = (self.begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let after = root.counters();
        let counts = match (&self.counters, &after) {
            (Ok(before), Ok(after)) => Ok(Counts {
                invalid: change(before, after, Counter::Invalid),
                drops: change(before, after, Counter::Drops),
                early_drops: change(before, after, Counter::EarlyDrops),
            }),
            (Err(why), _) | (_, Err(why)) => Err(why.clone()),
        };
        let drops = self.reverse_path.zip(root.reverse_path_drops());
        Watched {
            seconds,
            conntrack: Tracked {
                counts,
                entries: Entries::read(&root.proc),
                reasons: self.reasons(),
            },
            reverse_path_drops: drops
                .map(|(before, after)| after.saturating_sub(before))
                .ok_or_else(|| "the kernel has no counter IPReversePathFilter".to_owned()),
        }
    }

    /// What was read; where neither family's can be, why not.
    fn reasons(&self) -> Seen<Vec<(Reason, u64)>> {
        if let [Err(why), Err(_)] = &self.invalid.sources {
            return Err(why.to_string());
        }
        let counted = Reason::ALL.into_iter();
        Ok(counted
            .map(|reason| (reason, self.tally.of(reason)))
            .filter(|(_, count)| *count > 0)
            .collect())
    }
}

/// Each CPU's counter has 32 bits, and begins anew.
fn change(before: &Counters, after: &Counters, counter: Counter) -> Counted {
    let of = |cpu: &[Option<u32>]| cpu.get(counter as usize).copied().flatten().unwrap_or(0);
    let pairs = before.cpus().iter().zip(after.cpus());
    Counted {
        total: after.of(counter).unwrap_or(0),
        more: pairs
            .map(|(before, after)| u64::from(of(after).wrapping_sub(of(before))))
            .sum(),
    }
}

/// A counter of `TcpExt` in /proc/net/netstat, which has a line of names above one of values.
fn extended(netstat: &str, counter: &str) -> Option<u64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|name| name == counter)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

/// Interfaces and routes, in what `ip` prints; what each interface does to segments is asked for.
pub fn links(links: &str, routes: &[String]) -> Links {
    Links {
        interfaces: links::interfaces(links)
            .into_iter()
            .map(|(name, mtu)| Link {
                offloads: Offloads::of(&name).ok(),
                name,
                mtu,
            })
            .collect(),
        routes: routes
            .iter()
            .flat_map(|shown| links::routes_with_mtu(shown))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(invalid: [u32; 2]) -> Counters {
        let [one, two] = invalid;
        Counters::parse(&format!("entries invalid drop\n1 {one:x} 0\n1 {two:x} 0\n")).unwrap()
    }

    #[test]
    fn a_counter_that_begins_anew_has_not_fallen() {
        let changed = change(
            &counters([u32::MAX, 1]),
            &counters([1, 4]),
            Counter::Invalid,
        );
        assert_eq!(changed, Counted { total: 5, more: 5 });
    }

    #[test]
    fn a_counter_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent IPReversePathFilter X\nTcpExt: 0 17 3\nIpExt: InNoRoutes\nIpExt: 0\n";
        assert_eq!(extended(text, "IPReversePathFilter"), Some(17));
        assert_eq!(extended(text, "Other"), None);
        assert_eq!(extended("", "X"), None);
    }

    #[test]
    fn facts_are_read_from_whatever_place_looks_like_proc() {
        let directory = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let root = Root {
            proc: Proc::at(directory.path()),
            modules: directory.path().join("modules-of"),
            boot: directory.path().join("boot"),
        };
        assert!(root.kernel().is_err());
        put("sys/kernel/osrelease", "5.10.0-30-amd64\n");
        put("modules", "nf_tables 1 0 - Live 0x0\n");
        put("modules-of/5.10.0-30-amd64/modules.builtin", "");
        put(
            "modules-of/5.10.0-30-amd64/modules.dep",
            "kernel/net/netfilter/nft_socket.ko:\n",
        );
        put("sys/net/ipv4/conf/all/rp_filter", "1\n");
        put("sys/net/ipv4/conf/eth0.10/rp_filter", "0\n");
        put("sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        let kernel = root.kernel().unwrap();
        assert_eq!(kernel.release, "5.10.0-30-amd64");
        assert_eq!(kernel.features[&Id::NfTables], Presence::Present);
        assert_eq!(kernel.features[&Id::NftSocket], Presence::Loadable);
        assert_eq!(kernel.features[&Id::NftTproxy], Presence::Absent);
        let settings = root.settings();
        assert_eq!(settings.interfaces(), ["eth0.10"]);
        assert_eq!(settings.effective("eth0.10", "rp_filter"), Some(1));
        assert_eq!(
            settings.of("net.ipv4.ip_local_port_range"),
            Some("32768 60999")
        );
    }
}
