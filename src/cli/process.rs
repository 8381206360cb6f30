//! The flags of `unmangle run` that concern the whole process.

use super::limits;
use crate::config::Keys;

/// What concerns the whole process.
#[derive(clap::Args)]
pub struct ProcessFlags {
    /// Run although FORWARD (for a client sidecar: OUTPUT) would have dropped what is intercepted.
    #[arg(long)]
    override_forward: bool,

    /// How long running sessions may go on after SIGTERM or SIGINT [default: 30s]
    #[arg(long, value_name = "TIME")]
    drain: Option<String>,

    /// How long a dial may take before the client is reset [default: 30s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<String>,

    /// How long a peer may take nothing of the last bytes of a session that has ended [default: 2m]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    close_timeout: Option<String>,

    /// Silence after which both legs are probed [default: 60s]
    #[arg(long, value_name = "TIME")]
    keepalive: Option<String>,

    /// Reset a session of which no byte has moved either way for this long [default: off]
    #[arg(long, value_name = "TIME|off")]
    idle_timeout: Option<String>,

    /// After how long a session is stuck, and named in the log, that has bytes to deliver and moves none
    /// [default: 30s]
    #[arg(long, value_name = "TIME|off")]
    stall_after: Option<String>,

    /// What becomes of a session that is stuck: log (it goes on) or reset [default: log]
    #[arg(long, value_name = "WHAT")]
    stall_action: Option<String>,

    #[command(flatten)]
    limits: limits::LimitFlags,

    /// What moves the bytes: splice, tokio-splice or copy [default: splice]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,

    /// What becomes of new connections when the relay is killed: open lets them flow unrelayed, closed
    /// drops them until it runs again or `unmangle rules --remove` [default: open]
    #[arg(long, value_name = "HOW")]
    fail: Option<String>,

    /// Who puts the rules in place: own, print (they are printed, nothing is touched) or none
    /// [default: own]
    #[arg(long, value_name = "WHO")]
    rules: Option<String>,

    /// Settings of the host that a leg without SACK wants: none, print, or apply and restore at the end
    /// [default: none]
    #[arg(long, value_name = "HOW")]
    host_tuning: Option<String>,

    /// How the two legs of a session are kept apart in conntrack: zones, or notrack for odd hosts
    /// [default: zones]
    #[arg(long, value_name = "HOW")]
    track: Option<String>,

    /// Gateways: what becomes of segments of intercepted ports that belong to no connection known here, because another
    /// gateway has relayed theirs: forward, or reset, which resets both ends [default: forward]
    #[arg(long, value_name = "HOW")]
    strangers: Option<String>,

    /// Bits of the packet mark that are the relay's own [default: 0x02000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    mark: Option<String>,

    /// Bits of the packet mark by which a sidecar's own dials are known [default: 0x04000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    dial_mark: Option<String>,

    /// Routing table that is the relay's own [default: 21837]
    #[arg(long, value_name = "N", hide_short_help = true)]
    table: Option<String>,

    /// Priority of the ip rule that leads there [default: 21069]
    #[arg(long, value_name = "N", hide_short_help = true)]
    priority: Option<String>,

    /// Conntrack zones of the mangled and of the clean leg [default: 21837,21838]
    #[arg(long, value_name = "N,N", hide_short_help = true)]
    zones: Option<String>,

    /// Opening packets that are held at a time with --answer after-connect; further ones are answered at
    /// once [default: 4096]
    #[arg(long, value_name = "N")]
    held_max: Option<String>,

    /// Packet queue that they are held in [default: 21837]
    #[arg(long, value_name = "N", hide_short_help = true)]
    queue: Option<String>,

    /// Three bits of the packet mark for what becomes of them [default: 0x38000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    answer_mark: Option<String>,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,

    /// Whether each worker stays on a processor of its own: auto, if there are as many of them as processors, or off
    /// [default: auto]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    pin_workers: Option<String>,

    /// MiB of pipes that all workers may hold together; 0 copies every byte [default: 48]
    #[arg(long, value_name = "MIB")]
    pipe_budget: Option<String>,

    /// How the log on stderr is written: human or json [default: human]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// What is logged: error, warn, info, debug or trace, or a filter such as
    /// `info,unmangle::session=warn` [default: info]
    #[arg(long, value_name = "FILTER", env = "UNMANGLE_LOG")]
    log: Option<String>,

    /// Append the log to this file instead of stderr; it is opened anew on SIGHUP.
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,

    /// Where it tells how it does (metrics, status, sessions): the path of a Unix socket, mode 0660, or ADDRESS:PORT,
    /// which whoever reaches it may read; repeat it for more; off: nowhere [default: /run/unmangle/PID.sock]
    #[arg(long, value_name = "PATH|ADDR:PORT")]
    admin: Vec<String>,

    /// Whether INVALID packets are counted by conntrack's reasons, where the host logs them: on or off, which leaves
    /// NFLOG group 0 and the kernel's log to other programs [default: on]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    invalid_reasons: Option<String>,

    /// Whether times and sizes are recorded: on or off; without them no clock is read on the way of a byte, and
    /// their metrics are absent [default: on]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    histograms: Option<String>,

    /// Log histograms of latencies and sizes to this file, by interval, as HdrHistogram's tools read them; begun anew on
    /// SIGHUP
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<String>,

    /// How long an interval of --hdr-log is [default: 10s]
    #[arg(long, value_name = "TIME")]
    hdr_log_interval: Option<String>,

    /// MiB that the file of --hdr-log may have before it is put aside and a new one is begun [default: 64]
    #[arg(long, value_name = "MIB", hide_short_help = true)]
    hdr_log_size: Option<String>,

    /// Files of --hdr-log that are kept when they were put aside; older ones are removed [default: 7]
    #[arg(long, value_name = "N", hide_short_help = true)]
    hdr_log_keep: Option<String>,

    /// Started by root: become this user, and keep only the capabilities that the settings need
    /// [default: root, without the others]
    #[arg(long, value_name = "USER[:GROUP]")]
    run_as: Option<String>,
}

// === impl ProcessFlags ===

impl ProcessFlags {
    /// What was given, by key.
    pub fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        self.limits.add_to(&mut keys);
        keys.set_flag("admin", &self.admin);
        keys.set_flag("override-forward", self.override_forward.then_some(true));
        for (key, value) in [
            ("drain", &self.drain),
            ("connect-timeout", &self.connect_timeout),
            ("close-timeout", &self.close_timeout),
            ("keepalive", &self.keepalive),
            ("idle-timeout", &self.idle_timeout),
            ("stall-after", &self.stall_after),
            ("stall-action", &self.stall_action),
            ("engine", &self.engine),
            ("fail", &self.fail),
            ("rules", &self.rules),
            ("host-tuning", &self.host_tuning),
            ("track", &self.track),
            ("strangers", &self.strangers),
            ("mark", &self.mark),
            ("dial-mark", &self.dial_mark),
            ("table", &self.table),
            ("priority", &self.priority),
            ("zones", &self.zones),
            ("held-max", &self.held_max),
            ("queue", &self.queue),
            ("answer-mark", &self.answer_mark),
            ("workers", &self.workers),
            ("pin-workers", &self.pin_workers),
            ("pipe-budget", &self.pipe_budget),
            ("log-format", &self.log_format),
            ("log", &self.log),
            ("log-file", &self.log_file),
            ("invalid-reasons", &self.invalid_reasons),
            ("histograms", &self.histograms),
            ("hdr-log", &self.hdr_log),
            ("hdr-log-interval", &self.hdr_log_interval),
            ("hdr-log-size", &self.hdr_log_size),
            ("hdr-log-keep", &self.hdr_log_keep),
            ("run-as", &self.run_as),
        ] {
            keys.set_flag(key, value);
        }
        keys
    }
}
