//! What the kernel has of what is needed, without loading any of it: pure.

use super::id::Id;

/// Whether the kernel has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is built in, or loaded.
    Present,
    /// It is a module that is installed and not loaded: the kernel loads it when a rule needs it.
    Loadable,
    /// It is not there.
    Absent,
    /// Only loading it would tell.
    Unknown,
}

/// What the host says of its kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelTexts {
    /// `/proc/modules`: those that are loaded; none if the kernel loads no modules.
    pub loaded: Option<String>,
    /// `/lib/modules/RELEASE/modules.builtin`.
    pub built_in: Option<String>,
    /// `/lib/modules/RELEASE/modules.dep`.
    pub installed: Option<String>,
    /// The configuration that the kernel was built with.
    pub config: Option<String>,
}

/// A module, and the switch that it is built by.
#[derive(Debug, Clone, Copy)]
pub struct Module {
    name: &'static str,
    switch: &'static str,
}

/// What a relay with rules of its own needs, each under the name by which it is told.
pub const MODULES: &[(Id, Module)] = &[
    (Id::NfTables, module("nf_tables", "CONFIG_NF_TABLES")),
    (Id::NftTproxy, module("nft_tproxy", "CONFIG_NFT_TPROXY")),
    (Id::NftSocket, module("nft_socket", "CONFIG_NFT_SOCKET")),
    (Id::NftFib, module("nft_fib_inet", "CONFIG_NFT_FIB_INET")),
    (Id::NftCt, module("nft_ct", "CONFIG_NFT_CT")),
    (Id::Queue, module("nft_queue", "CONFIG_NFT_QUEUE")),
    (Id::Conntrack, module("nf_conntrack", "CONFIG_NF_CONNTRACK")),
];

/// The other way into a queue.
pub const IPTABLES_QUEUE: Module = module("xt_NFQUEUE", "CONFIG_NETFILTER_XT_TARGET_NFQUEUE");

const fn module(name: &'static str, switch: &'static str) -> Module {
    Module { name, switch }
}

// === impl Module ===

impl Module {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether the kernel has it.
    pub fn presence(self, texts: &KernelTexts) -> Presence {
        let lists = |text: &Option<String>, line_is: &dyn Fn(&str) -> bool| {
            text.as_ref().map(|text| text.lines().any(line_is))
        };
        let is_loaded = |line: &str| line.split(' ').next() == Some(self.name);
        let is_file = |line: &str| file_name(line) == Some(self.name);
        if lists(&texts.loaded, &is_loaded) == Some(true)
            || lists(&texts.built_in, &is_file) == Some(true)
        {
            return Presence::Present;
        }
        let switch = texts.config.as_ref().map(|config| self.switched(config));
        let installed = lists(&texts.installed, &is_file);
        match (switch, installed) {
            (Some(Some('y')), _) => Presence::Present,
            (_, Some(true)) if texts.loaded.is_some() => Presence::Loadable,
            (Some(Some(_)), Some(false)) | (Some(None), _) => Presence::Absent,
            // It was built as a module; whether that is installed is not known.
            (Some(Some(_)), _) => Presence::Unknown,
            (None, Some(false)) if texts.built_in.is_some() => Presence::Absent,
            (None, _) => Presence::Unknown,
        }
    }

    /// `y`, `m`, or none.
    fn switched(self, config: &str) -> Option<char> {
        let line = config.lines().find_map(|line| {
            let value = line.strip_prefix(self.switch)?;
            value.strip_prefix('=')
        });
        line?.chars().next()
    }
}

/// The module's name in `kernel/net/netfilter/nft_tproxy.ko.xz: kernel/…`.
fn file_name(line: &str) -> Option<&str> {
    let path = line.split(':').next()?;
    let (_, file) = path.rsplit_once('/')?;
    file.split(".ko").next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TPROXY: Module = MODULES[1].1;

    fn texts(
        loaded: Option<&str>,
        built_in: Option<&str>,
        dep: Option<&str>,
        config: Option<&str>,
    ) -> KernelTexts {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        KernelTexts {
            loaded: owned(loaded),
            built_in: owned(built_in),
            installed: owned(dep),
            config: owned(config),
        }
    }

    #[test]
    fn what_is_loaded_or_built_in_is_present() {
        let loaded = "nft_tproxy 16384 0 - Live 0x0\n";
        let built_in = "kernel/net/netfilter/nft_tproxy.ko\n";
        let config = "CONFIG_NFT_TPROXY=y\n";
        for seen in [
            texts(Some(loaded), None, None, None),
            texts(Some(""), Some(built_in), Some(""), None),
            texts(None, None, None, Some(config)),
        ] {
            assert_eq!(TPROXY.presence(&seen), Presence::Present, "{seen:?}");
        }
    }

    #[test]
    fn a_module_on_the_disk_is_no_loaded_one() {
        let dep = "kernel/net/netfilter/nft_tproxy.ko.zst: kernel/net/netfilter/nf_tables.ko.zst\n";
        let seen = texts(
            Some("nf_tables 1 0 - Live 0x0\n"),
            Some(""),
            Some(dep),
            Some("CONFIG_NFT_TPROXY=m\n"),
        );
        assert_eq!(TPROXY.presence(&seen), Presence::Loadable);
        // What needs it is not it.
        let other = "kernel/net/other.ko: kernel/net/netfilter/nft_tproxy.ko\n";
        let seen = texts(Some(""), Some(""), Some(other), None);
        assert_eq!(TPROXY.presence(&seen), Presence::Absent);
    }

    #[test]
    fn what_was_left_out_is_absent_and_what_cannot_be_known_is_unknown() {
        let without = "# CONFIG_NFT_TPROXY is not set\nCONFIG_NFT_TPROXY_MORE=y\n";
        let seen = texts(Some(""), None, None, Some(without));
        assert_eq!(TPROXY.presence(&seen), Presence::Absent);
        // As in a container: the host's modules are not there.
        let seen = texts(Some("nf_tables 1 0 - Live 0x0\n"), None, None, None);
        assert_eq!(TPROXY.presence(&seen), Presence::Unknown);
        let seen = texts(Some(""), None, None, Some("CONFIG_NFT_TPROXY=m\n"));
        assert_eq!(TPROXY.presence(&seen), Presence::Unknown);
    }
}
