//! The arguments that make a listener: where connections come from, and what their legs may negotiate.

use crate::config::Keys;

/// One listener; a file can have several.
#[derive(Default, clap::Args)]
pub struct Flags {
    /// How the relay is deployed: gateway, server-sidecar, client-sidecar or forward
    /// [default: forward with --listen, else gateway]
    #[arg(long, value_name = "HOW")]
    mode: Option<String>,

    /// Destination ports to intercept, separated by commas.
    #[arg(long, value_name = "PORTS")]
    intercept: Option<String>,

    /// The interface that faces the firewall.
    #[arg(long, value_name = "IFACE")]
    mangled_side: Option<String>,

    /// Intercept only what comes from this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    from: Vec<String>,

    /// Intercept only what goes to this network (more than once if need be) [default: everywhere];
    /// with --listen the one target
    #[arg(long, value_name = "NET|HOST:PORT")]
    to: Vec<String>,

    /// Server sidecar: how the service is dialled: loopback (it sees the client's address and port),
    /// own-address (the port is another) or transparent (needs --to) [default: loopback]
    #[arg(long, value_name = "HOW")]
    service_leg: Option<String>,

    /// Client sidecar: only what this user opens, by name or number.
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// Client sidecar: only what this control group (version 2) opens.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,

    /// Listen for clients at this address instead, and pass them on to --to.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,

    /// With --listen: the leg that --profile is for, downstream (the client's) or upstream.
    #[arg(long, value_name = "LEG")]
    mangled_leg: Option<String>,

    /// With --listen: expect a PROXY header (v1 or v2) from these addresses, and believe it; what comes
    /// from elsewhere is a client's own.
    #[arg(long, value_name = "NET,NET")]
    accept_proxy: Option<String>,

    /// With --accept-proxy: how long a proxy may take to send its header [default: 5s]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    proxy_timeout: Option<String>,

    /// With --listen: tell the server who the client is by a PROXY header, v1 or v2.
    #[arg(long, value_name = "VERSION")]
    send_proxy: Option<String>,

    /// With --listen: whose address the server sees, relay or client; client needs CAP_NET_ADMIN, and the
    /// server's answers to pass this host [default: relay]
    #[arg(long, value_name = "WHO")]
    dial_from: Option<String>,

    /// With --rules print or none: loopback port for connections from the mangled side [default: 21069]
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    mangled_port: Option<String>,

    /// With --rules print or none: loopback port for connections from the other side [default: 21070]
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    clean_port: Option<String>,

    /// When a client's opening packet is answered: at-once, or after-connect, when the server has answered,
    /// and as it did [default: at-once]
    #[arg(long, value_name = "WHEN")]
    answer: Option<String>,

    /// Pass on only connections that such an entry names, SOURCE or SOURCE -> DESTINATION:PORTS; may be given
    /// more than once [default: all that are led or made to the listener]
    #[arg(long, value_name = "ENTRY")]
    allow: Vec<String>,

    /// Reset connections that such an entry names, even if one of --allow does, too; may be given more than
    /// once.
    #[arg(long, value_name = "ENTRY")]
    deny: Vec<String>,

    /// What the leg that crosses the firewall may negotiate: clean, isn-rewrite, cisco-pix,
    /// wscale-strip, blackhole, idle-drop, asa, or one from the file.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl Flags {
    /// What was given.
    pub fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        for (key, value) in [
            ("mode", &self.mode),
            ("service-leg", &self.service_leg),
            ("user", &self.user),
            ("cgroup", &self.cgroup),
            ("intercept", &self.intercept),
            ("mangled-side", &self.mangled_side),
            ("listen", &self.listen),
            ("mangled-leg", &self.mangled_leg),
            ("accept-proxy", &self.accept_proxy),
            ("proxy-timeout", &self.proxy_timeout),
            ("send-proxy", &self.send_proxy),
            ("dial-from", &self.dial_from),
            ("mangled-port", &self.mangled_port),
            ("clean-port", &self.clean_port),
            ("answer", &self.answer),
            ("profile", &self.profile),
        ] {
            keys.set_flag(key, value);
        }
        keys.set_flag("from", &self.from);
        keys.set_flag("to", &self.to);
        keys.set_flag("allow", &self.allow);
        keys.set_flag("deny", &self.deny);
        keys
    }
}
