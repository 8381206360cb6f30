# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_unmangle_global_optspecs
    string join \n h/help V/version
end

function __fish_unmangle_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_unmangle_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_unmangle_using_subcommand
    set -l cmd (__fish_unmangle_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c unmangle -n "__fish_unmangle_needs_command" -s h -l help -d 'Print help'
complete -c unmangle -n "__fish_unmangle_needs_command" -s V -l version -d 'Print version'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "run" -d 'Relay connections, and normalise the leg that crosses the firewall'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "status" -d 'Say how a relay does: whether it is ready, its rules, its listeners, its sessions and those that are stuck'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "top" -d 'Watch a relay: its sessions, what they carry, what it adds, what conntrack rejects'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "upgrade" -d 'Replace a relay by a new process, of a new version as well: its listeners, rules and running sessions go over'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "rules" -d 'Print the rules and routes that `unmangle run` would put in place, and touch nothing'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "normalise" -d 'Strip what a firewall gets wrong from SYN and SYN-ACK as they pass, and relay nothing'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "doctor" -d 'Look at this host: what is sound for a relay, what is not, and what would mend it'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "explain" -d 'Show why conntrack calls packets INVALID, from a capture'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "probe" -d 'Find out what the path between two hosts does to TCP, and what would undo it'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "lab" -d 'Prove it: hosts in network namespaces around an emulated firewall'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "bench" -d 'Measure: load a TCP path, direct and by way of a relay, and time it honestly'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "generate" -d 'Write manual pages, or completions for a shell'
complete -c unmangle -n "__fish_unmangle_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l config -d 'Read settings and listeners from this file; flags win over it' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l takeover -d 'Take over everything from the relay that answers at this Unix socket (its --admin), sessions included; it goes on if that fails. `unmangle upgrade` has a relay start its successor so' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l mode -d 'How the relay is deployed: gateway, server-sidecar, client-sidecar or forward [default: forward with --listen, else gateway]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l intercept -d 'Destination ports to intercept, separated by commas' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l mangled-side -d 'The interface that faces the firewall' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l from -d 'Intercept only what comes from this network; may be given more than once [default: everywhere]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l to -d 'Intercept only what goes to this network (more than once if need be) [default: everywhere]; with --listen the one target' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l service-leg -d 'Server sidecar: how the service is dialled: loopback (it sees the client\'s address and port), own-address (the port is another) or transparent (needs --to) [default: loopback]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l user -d 'Client sidecar: only what this user opens, by name or number' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l cgroup -d 'Client sidecar: only what this control group (version 2) opens' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l listen -d 'Listen for clients at this address instead, and pass them on to --to' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l mangled-leg -d 'With --listen: the leg that --profile is for, downstream (the client\'s) or upstream' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l accept-proxy -d 'With --listen: expect a PROXY header (v1 or v2) from these addresses, and believe it; what comes from elsewhere is a client\'s own' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l proxy-timeout -d 'With --accept-proxy: how long a proxy may take to send its header [default: 5s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l send-proxy -d 'With --listen: tell the server who the client is by a PROXY header, v1 or v2' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l dial-from -d 'With --listen: whose address the server sees, relay or client; client needs CAP_NET_ADMIN, and the server\'s answers to pass this host [default: relay]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l mangled-port -d 'With --rules print or none: loopback port for connections from the mangled side [default: 21069]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l clean-port -d 'With --rules print or none: loopback port for connections from the other side [default: 21070]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l answer -d 'When a client\'s opening packet is answered: at-once, or after-connect, when the server has answered, and as it did [default: at-once]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l allow -d 'Pass on only connections that such an entry names, SOURCE or SOURCE -> DESTINATION:PORTS; may be given more than once [default: all that are led or made to the listener]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l deny -d 'Reset connections that such an entry names, even if one of --allow does, too; may be given more than once' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l profile -d 'What the leg that crosses the firewall may negotiate: clean, isn-rewrite, cisco-pix, wscale-strip, blackhole, idle-drop, asa, or one from the file' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l drain -d 'How long running sessions may go on after SIGTERM or SIGINT [default: 30s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l connect-timeout -d 'How long a dial may take before the client is reset [default: 30s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l close-timeout -d 'How long a peer may take nothing of the last bytes of a session that has ended [default: 2m]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l keepalive -d 'Silence after which both legs are probed [default: 60s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l idle-timeout -d 'Reset a session of which no byte has moved either way for this long [default: off]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l stall-after -d 'After how long a session is stuck, and named in the log, that has bytes to deliver and moves none [default: 30s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l stall-action -d 'What becomes of a session that is stuck: log (it goes on) or reset [default: log]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l max-connections -d 'Connections at a time; further ones wait to be accepted [default: as many as there are descriptors for]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l max-per-source -d 'Connections that one source may have at a time at a listener; further ones are reset [default: no limit]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l rate-per-source -d 'Connections that one source may open at a listener within a time, such as 10/s; further ones are reset [default: no limit]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l source-prefix -d 'Leading bits of an address, of IPv4 and of IPv6, that make a source [default: 32,64]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l engine -d 'What moves the bytes: splice, tokio-splice or copy [default: splice]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l fail -d 'What becomes of new connections when the relay is killed: open lets them flow unrelayed, closed drops them until it runs again or `unmangle rules --remove` [default: open]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l rules -d 'Who puts the rules in place: own, print (they are printed, nothing is touched) or none [default: own]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l host-tuning -d 'Settings of the host that a leg without SACK wants: none, print, or apply and restore at the end [default: none]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l track -d 'How the two legs of a session are kept apart in conntrack: zones, or notrack for odd hosts [default: zones]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l strangers -d 'Gateways: what becomes of segments of intercepted ports that belong to no connection known here, because another gateway has relayed theirs: forward, or reset, which resets both ends [default: forward]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l mark -d 'Bits of the packet mark that are the relay\'s own [default: 0x02000000]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l dial-mark -d 'Bits of the packet mark by which a sidecar\'s own dials are known [default: 0x04000000]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l table -d 'Routing table that is the relay\'s own [default: 21837]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l priority -d 'Priority of the ip rule that leads there [default: 21069]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l zones -d 'Conntrack zones of the mangled and of the clean leg [default: 21837,21838]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l held-max -d 'Opening packets that are held at a time with --answer after-connect; further ones are answered at once [default: 4096]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l queue -d 'Packet queue that they are held in [default: 21837]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l answer-mark -d 'Three bits of the packet mark for what becomes of them [default: 0x38000000]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l workers -d 'Worker threads [default: one for each core]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l pin-workers -d 'Whether each worker stays on a processor of its own: auto, if there are as many of them as processors, or off [default: auto]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l pipe-budget -d 'MiB of pipes that all workers may hold together; 0 copies every byte [default: 48]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l log-format -d 'How the log on stderr is written: human or json [default: human]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l log -d 'What is logged: error, warn, info, debug or trace, or a filter such as `info,unmangle::session=warn` [default: info]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l log-file -d 'Append the log to this file instead of stderr; it is opened anew on SIGHUP' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l admin -d 'Where it tells how it does (metrics, status, sessions): the path of a Unix socket, mode 0660, or ADDRESS:PORT, which whoever reaches it may read; repeat it for more; off: nowhere [default: /run/unmangle/PID.sock]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l invalid-reasons -d 'Whether INVALID packets are counted by conntrack\'s reasons, where the host logs them: on or off, which leaves NFLOG group 0 and the kernel\'s log to other programs [default: on]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l histograms -d 'Whether times and sizes are recorded: on or off; without them no clock is read on the way of a byte, and their metrics are absent [default: on]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l hdr-log -d 'Log histograms of latencies and sizes to this file, by interval, as HdrHistogram\'s tools read them; begun anew on SIGHUP' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l hdr-log-interval -d 'How long an interval of --hdr-log is [default: 10s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l hdr-log-size -d 'MiB that the file of --hdr-log may have before it is put aside and a new one is begun [default: 64]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l hdr-log-keep -d 'Files of --hdr-log that are kept when they were put aside; older ones are removed [default: 7]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l run-as -d 'Started by root: become this user, and keep only the capabilities that the settings need [default: root, without the others]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l check -d 'Check the settings, print what would be in force, and end'
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -l override-forward -d 'Run although FORWARD (for a client sidecar: OUTPUT) would have dropped what is intercepted'
complete -c unmangle -n "__fish_unmangle_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand status" -l admin -d 'Where to ask: what `unmangle run` was given by --admin [default: the one socket of a relay in /run/unmangle or $XDG_RUNTIME_DIR/unmangle]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand status" -l pid -d 'Ask the relay that is this process, at the Unix socket that it listens at' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand status" -l json -d 'Print the status in JSON, as docs/api-status.schema.json describes'
complete -c unmangle -n "__fish_unmangle_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand top" -l admin -d 'Where to ask: what `unmangle run` was given by --admin [default: the one socket of a relay in /run/unmangle or $XDG_RUNTIME_DIR/unmangle]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand top" -l pid -d 'Ask the relay that is this process, at the Unix socket that it listens at' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand top" -l every -d 'How often it asks' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand upgrade" -l admin -d 'Where to ask: what `unmangle run` was given by --admin [default: the one socket of a relay in /run/unmangle or $XDG_RUNTIME_DIR/unmangle]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand upgrade" -l pid -d 'Ask the relay that is this process, at the Unix socket that it listens at' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand upgrade" -l program -d 'Start this program instead of the one that the relay was started from' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand upgrade" -l json -d 'Print what is answered in JSON: pid, sessions, left, took_ms; or error'
complete -c unmangle -n "__fish_unmangle_using_subcommand upgrade" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l config -d 'Read settings and listeners from this file; flags win over it' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l mode -d 'How the relay is deployed: gateway, server-sidecar, client-sidecar or forward [default: forward with --listen, else gateway]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l intercept -d 'Destination ports to intercept, separated by commas' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l mangled-side -d 'The interface that faces the firewall' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l from -d 'Intercept only what comes from this network; may be given more than once [default: everywhere]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l to -d 'Intercept only what goes to this network (more than once if need be) [default: everywhere]; with --listen the one target' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l service-leg -d 'Server sidecar: how the service is dialled: loopback (it sees the client\'s address and port), own-address (the port is another) or transparent (needs --to) [default: loopback]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l user -d 'Client sidecar: only what this user opens, by name or number' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l cgroup -d 'Client sidecar: only what this control group (version 2) opens' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l listen -d 'Listen for clients at this address instead, and pass them on to --to' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l mangled-leg -d 'With --listen: the leg that --profile is for, downstream (the client\'s) or upstream' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l accept-proxy -d 'With --listen: expect a PROXY header (v1 or v2) from these addresses, and believe it; what comes from elsewhere is a client\'s own' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l proxy-timeout -d 'With --accept-proxy: how long a proxy may take to send its header [default: 5s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l send-proxy -d 'With --listen: tell the server who the client is by a PROXY header, v1 or v2' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l dial-from -d 'With --listen: whose address the server sees, relay or client; client needs CAP_NET_ADMIN, and the server\'s answers to pass this host [default: relay]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l mangled-port -d 'With --rules print or none: loopback port for connections from the mangled side [default: 21069]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l clean-port -d 'With --rules print or none: loopback port for connections from the other side [default: 21070]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l answer -d 'When a client\'s opening packet is answered: at-once, or after-connect, when the server has answered, and as it did [default: at-once]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l allow -d 'Pass on only connections that such an entry names, SOURCE or SOURCE -> DESTINATION:PORTS; may be given more than once [default: all that are led or made to the listener]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l deny -d 'Reset connections that such an entry names, even if one of --allow does, too; may be given more than once' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l profile -d 'What the leg that crosses the firewall may negotiate: clean, isn-rewrite, cisco-pix, wscale-strip, blackhole, idle-drop, asa, or one from the file' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l format -d 'The language to print them in' -r -f -a "nft\t'For `nft -f`'
iptables\t'For `iptables-restore --noflush`: IPv4'
ip6tables\t'For `ip6tables-restore --noflush`: IPv6'"
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -l remove -d 'Remove what a killed relay may have left: the table that fails closed, ip rules, routes, host tuning'
complete -c unmangle -n "__fish_unmangle_using_subcommand rules" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l config -d 'Read profiles and the one listener\'s profile, mangled-side, intercept, from and to from this file, as `unmangle run` does; flags win over it, and the rest of the file is the relay\'s' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l mangled-side -d 'The interface that faces the firewall' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l profile -d 'What may be negotiated across that interface, such as cisco-pix or isn-rewrite, or one from the file' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l intercept -d 'Only connections to these ports, separated by commas [default: every port]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l from -d 'Only connections that come from this network; may be given more than once [default: everywhere]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l to -d 'Only connections that go to this network; may be given more than once [default: everywhere]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l print -d 'Print the rules and put nothing in place: for nft, iptables-restore or ip6tables-restore [default: nft]' -r -f -a "nft\t'For `nft -f`'
iptables\t'For `iptables-restore --noflush`: IPv4'
ip6tables\t'For `ip6tables-restore --noflush`: IPv6'"
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l log-format -d 'How the log on stderr is written: human or json' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -l log -d 'What is logged: error, warn, info, debug or trace' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand normalise" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand doctor" -l config -d 'Judge what this configuration would need and intercept' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand doctor" -l seconds -d 'For how many seconds counters are watched: 0 to 3600' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand doctor" -l json -d 'Print what is found in JSON, as docs/doctor.schema.json describes'
complete -c unmangle -n "__fish_unmangle_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l other-side -d 'A capture of the same time from the other side of the firewall: tells which fields are changed between' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -s i -l interface -d 'Capture on this interface (`any` for all) by tcpdump, until --seconds are over or Ctrl-C' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l seconds -d 'How long to capture' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l kernel -d 'Whose rules: 5.10, 6.1, 6.12 or 6.18. Default: those of this host\'s kernel, or of the nearest one known' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l flow -d 'Only this connection: its number in the report, or an address of either end, with or without port' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l svg -d 'Draw the connection around its first INVALID packet (that of --flow N, if one is named)' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l liberal -d 'Judge as a host with `nf_conntrack_tcp_be_liberal=1` does'
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -l json -d 'Print the report in JSON (docs/explain.schema.json)'
complete -c unmangle -n "__fish_unmangle_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and not __fish_seen_subcommand_from serve run sweep help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and not __fish_seen_subcommand_from serve run sweep help" -f -a "serve" -d 'Be the other end of `unmangle probe run`'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and not __fish_seen_subcommand_from serve run sweep help" -f -a "run" -d 'Find out what the path to a host does to TCP: `unmangle probe serve` has to run there'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and not __fish_seen_subcommand_from serve run sweep help" -f -a "sweep" -d 'Look for a firewall that mangles, from this end alone: nothing has to run on HOST'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and not __fish_seen_subcommand_from serve run sweep help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from serve" -l port -d 'The TCP port by which clients say what is to be done' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from serve" -l flow-port -d 'The TCP port of the segments that are compared; no service may have it [default: the one after --port]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from serve" -l ports -d 'Other TCP ports that clients may have tried; what a service of this host has is only watched' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from serve" -l allow -d 'Serve only clients of this network, such as 192.0.2.0/24, or of this address. May be given several times' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from serve" -l max-sessions -d 'So many clients at a time, each of another address' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l port -d 'The TCP port on which it listens' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l ports -d 'Try the handshake at these TCP ports of the host, too: firewalls do not treat all alike' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l idle-up-to -d 'Find out for how long a silent connection is remembered, up to this time; it takes up to twice as long' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l write-config -d 'Write a configuration that undoes what is found' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l mode -d 'For which host that is: client-sidecar for this one, server-sidecar for the other, gateway for a router between' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l mangled-side -d 'The interface there that faces the firewall [default: the one of this host that leads to HOST]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l intercept -d 'For connections to these ports' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -s 4 -d 'By IPv4 only'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -s 6 -d 'By IPv6 only'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -l json -d 'Print what is found in JSON, as docs/probe.schema.json describes'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from sweep" -l port -d 'A TCP port of it that is open' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from sweep" -l json -d 'Print what is found in JSON, as docs/sweep.schema.json describes'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from sweep" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "serve" -d 'Be the other end of `unmangle probe run`'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "run" -d 'Find out what the path to a host does to TCP: `unmangle probe serve` has to run there'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "sweep" -d 'Look for a firewall that mangles, from this end alone: nothing has to run on HOST'
complete -c unmangle -n "__fish_unmangle_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -s h -l help -d 'Print help'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -f -a "run" -d 'Make real transfers and print what became of them'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -f -a "list" -d 'Tell what the scenarios are'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -f -a "shell" -d 'Put up a scenario and leave it standing until the shell ends, stdin does, or Ctrl-C or SIGTERM'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -f -a "wire" -d 'One wire of the lab; started by the lab itself'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and not __fish_seen_subcommand_from run list shell wire help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l path -d 'What stands in between [default: direct,liberal,split,relay; with --shape relay]' -r -f -a "direct\t'Nothing: strict connection tracking, no relay'
liberal\t'Nothing, and connection tracking is told to look away (nf_conntrack_tcp_be_liberal=1)'
split\t'The relay with the profile `clean`: splitting alone'
relay\t'The relay with the scenario\'s profile'
normalise\t'The scenario\'s profile as rules on the relay host, without a relay'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l shape -d 'How the relay is deployed [default: gateway]' -r -f -a "gateway\t'On a router between the firewall and the hosts'
server-sidecar\t'On the host that serves, in front of sshd, which it dials at the loopback address'
server-sidecar-own-address\t'The same, but sshd is dialled at its own address, from another port than the client\'s'
server-sidecar-transparent\t'The same, but sshd is dialled at its own address, from the client\'s address and port'
client-sidecar\t'On the host that opens the connection'
forward\t'On the relay host, where clients come to it; rules beside it strip'
forward-unprivileged\t'The same without any privilege: no rules, and what sockets alone can enforce'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l tool -d 'What carries the bytes [default: scp; ssh-idle in idle-drop]' -r -f -a "scp\t'scp'
sftp\t'sftp, by a batch of one put or get'
rsync-ssh\t'rsync by ssh'
rsync-daemon\t'rsync from and to a daemon on port 873'
ssh-idle\t'An ssh session that exchanges a line, is silent, and exchanges another'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l direction -d 'Who sends: `upload` is the host that opens the connection' -r -f -a "upload\t''
download\t''
both\t''"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l family -d 'The version of IP' -r -f -a "4\t''
6\t''
both\t''"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l opened-from -d 'Who opens the connection; sshd runs on the other host' -r -f -a "client\t'The client, through the firewall towards the server'
server\t'The server, through the gateway towards the client'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l strict -d 'Which hosts filter by connection tracking and answer the rest by a TCP reset' -r -f -a "client\t'The client alone'
server\t'The server alone'
both\t'Both'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l long-rtt -d 'Round-trip time of the long leg, up to 10s' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l host-tuning -d 'Whether the hosts are tuned for a leg without SACK: tcp_no_metrics_save=1, tcp_max_reordering=3' -r -f -a "none\t'They are as the kernel makes them'
apply\t'net.ipv4.tcp_no_metrics_save=1 and net.ipv4.tcp_max_reordering=3 on each'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l size -d 'How much to carry; it must fit into memory twice' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l timeout -d 'When a transfer is given up as stalled, from 1s to 1day' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l idle -d 'How long ssh-idle is silent, from 1s to 1h; the firewall of idle-drop forgets a flow after half of it [default: 40s there, 5s elsewhere]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l runs -d 'How often to repeat each' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l seed -d 'What the wires draw their chances from: the same seed loses the same packets' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l report -d 'Keep a page to look at (index.html), rows, logs and captures of every host there; it must be empty, or not exist' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -l json -d 'Print an array of rows in JSON'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from list" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -l path -d 'What stands in between; with `split` or `relay` the relay runs, with `normalise` its rules' -r -f -a "direct\t'Nothing: strict connection tracking, no relay'
liberal\t'Nothing, and connection tracking is told to look away (nf_conntrack_tcp_be_liberal=1)'
split\t'The relay with the profile `clean`: splitting alone'
relay\t'The relay with the scenario\'s profile'
normalise\t'The scenario\'s profile as rules on the relay host, without a relay'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -l shape -d 'How the relay is deployed' -r -f -a "gateway\t'On a router between the firewall and the hosts'
server-sidecar\t'On the host that serves, in front of sshd, which it dials at the loopback address'
server-sidecar-own-address\t'The same, but sshd is dialled at its own address, from another port than the client\'s'
server-sidecar-transparent\t'The same, but sshd is dialled at its own address, from the client\'s address and port'
client-sidecar\t'On the host that opens the connection'
forward\t'On the relay host, where clients come to it; rules beside it strip'
forward-unprivileged\t'The same without any privilege: no rules, and what sockets alone can enforce'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -l opened-from -d 'Who opens connections; sshd runs on the other host' -r -f -a "client\t'The client, through the firewall towards the server'
server\t'The server, through the gateway towards the client'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -l strict -d 'Which hosts filter by connection tracking and answer the rest by a TCP reset' -r -f -a "client\t'The client alone'
server\t'The server alone'
both\t'Both'"
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -l long-rtt -d 'Round-trip time of the long leg, up to 10s' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from shell" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from wire" -l spec -d 'A JSON file that holds the wire\'s specification' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from wire" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from wire" -s h -l help -d 'Print help'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from help" -f -a "run" -d 'Make real transfers and print what became of them'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from help" -f -a "list" -d 'Tell what the scenarios are'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from help" -f -a "shell" -d 'Put up a scenario and leave it standing until the shell ends, stdin does, or Ctrl-C or SIGTERM'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from help" -f -a "wire" -d 'One wire of the lab; started by the lab itself'
complete -c unmangle -n "__fish_unmangle_using_subcommand lab; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -s h -l help -d 'Print help'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -f -a "serve" -d 'Be the other end of `unmangle bench run`: answer, discard and send as it asks'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -f -a "run" -d 'Load `unmangle bench serve`, and report what it took'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -f -a "compare" -d 'Compare the relay and its engines with other relays, each in hosts of its own'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -f -a "merge" -d 'Merge the reports of clients that loaded one server together'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and not __fish_seen_subcommand_from serve run compare merge help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from serve" -l listen -d 'An address to listen on, HOST:PORT; port 0 takes a free one. May be given several times' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from serve" -l mode -d 'Serve this mode only, and tell others so' -r -f -a "stream\t'Bytes, as fast as they go'
rr\t'Request and response, over connections that stay'
crr\t'Connect, request, response, close'
idle\t'Connections that are silent, then asked whether they still live'
mix\t'Of every eight connections one streams, five do rr, one does crr, one is idle'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from serve" -l threads -d 'Threads [default: one for each core]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from serve" -l stall -d 'Stand still now and then, to see whether a load generator notices: 200ms/1s is 200 ms in every second' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from serve" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l to -d 'The server, HOST:PORT' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l via -d 'The same server by another way, such as a relay\'s listener: measured in turn with --to' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l mode -d 'What the connections do' -r -f -a "stream\t'Bytes, as fast as they go'
rr\t'Request and response, over connections that stay'
crr\t'Connect, request, response, close'
idle\t'Connections that are silent, then asked whether they still live'
mix\t'Of every eight connections one streams, five do rr, one does crr, one is idle'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l connections -d 'How many connections at a time [default: 1; 8 in a mix]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l duration -d 'How long each path is measured, from 100ms' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l warmup -d 'How long the load runs before that, unmeasured [default: a tenth of the duration, 1s at most]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l rate -d 'Open loop: requests a second over all connections, such as 500 or 20k; for rr, crr and mix' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l request -d 'Bytes of a request' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l response -d 'Bytes of a response' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l direction -d 'Who sends in a stream' -r -f -a "upload\t'The client sends'
download\t'The server sends'
both\t'Both send'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l turns -d 'How often each of two paths has its turn' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l interval -d 'How long one point of the series and of the log is [default: a twentieth of the duration, 100ms to 1s]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l threads -d 'Threads [default: one for each core, and no more than connections]' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l connect-timeout -d 'How long a connection may take to be made' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l grace -d 'How long the last responses are waited for once the time is over' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l hdr-log -d 'Write the latencies of every interval there: a HdrHistogram V2 log' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l plot -d 'Draw latency by percentile and throughput over time there: an SVG' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l bare -d 'The other end is no `unmangle bench serve`, but a plain server: one that echoes for rr and crr, one that discards for a stream'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l read -d 'Read what arrives into memory, as a real receiver does. Otherwise the kernel discards streams and responses, so that the ends cost little'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l verify -d 'Compare every byte that arrives with what was to arrive'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -l json -d 'Print the report in JSON (docs/bench-report.schema.json)'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l peers -d 'Other relays; one that is given twice takes part twice' -r -f -a "haproxy\t'HAProxy'
nginx\t'nginx, its stream module'
socat\t'a process for each connection'
none\t'nobody else'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l engines -d 'Engines of `unmangle`' -r -f -a "splice\t'ours'
tokio-splice\t'the crate of that name'
copy\t'tokio\'s copy_bidirectional'
none\t'no `unmangle` at all'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l work -d 'What is measured; rr64bulk (rr64 while another connection streams) only if it is asked for' -r -f -a "stream1\t'Bulk from server to client over one connection'
stream8\t'The same over eight'
rr1\t'Request and response over one connection'
rr64\t'The same over 64'
rr64bulk\t'The same while another connection streams from server to client: what a bulk flow does to its neighbours'
crr64\t'Connect, request, response, close; 64 at a time'
idle\t'Sessions that say nothing: what they cost in memory and descriptors'
mix\t'8 streams, 40 connections that do rr, 8 that do crr, 8 idle ones'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l offload -d 'Whether packets may be larger than the MTU inside the machine' -r -f -a "on\t'They may'
off\t'They may not'
both\t'First the one, then the other'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l shape -d 'Where the relays stand' -r -f -a "forward\t'Clients come to the relay host, and it connects to the server: what every peer can do'
gateway\t'The relay takes connections that pass by and keeps the client\'s address and port (TPROXY)'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l rounds -d 'How often everything is measured; intervals are over the rounds' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l slices -d 'How many turns each candidate has in a round with each work' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l slice -d 'How long a turn is measured, from 100ms to 1m' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l warmup -d 'How long the load runs before that, from 0s to 1m' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l idle-sessions -d 'How many idle sessions those get who can hold them' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l cores -d 'Who decides on which cores rr1 runs: `work` puts client, relay and server on one, so that the work is measured and not the luck of the scheduler' -r -f -a "work\t'With requests over a single connection all share one core: what is measured is the work'
scheduler\t'The scheduler, always: what is measured is the speed, with all its luck'"
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l seed -d 'What the order of turns is drawn from' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l plot -d 'Draw it, too: as a picture, or as a page with tables and chart' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l from -d 'Measure nothing: show what an earlier run has printed with --json' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l baseline -d 'Compare the ratios with kept ones: exit code 1 if one is worse, or was not measured' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l write-baseline -d 'Keep the ratios for --baseline; with --from those that --peers, --engines, --work and --offload name' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l allowance -d 'What goes into it: by which part of a ratio another may be worse and is taken for the same' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -l json -d 'Print it in JSON, as docs/bench-compare.schema.json describes'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from merge" -l plot -d 'Draw latency by percentile and throughput over time' -r -F
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from merge" -l log -d 'What is logged on stderr: error, warn, info, debug or trace, or a filter' -r
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from merge" -l apart -d 'Merge clients that measured at no time together, too'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from merge" -l json -d 'Print the merged report in JSON'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from merge" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "serve" -d 'Be the other end of `unmangle bench run`: answer, discard and send as it asks'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "run" -d 'Load `unmangle bench serve`, and report what it took'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "compare" -d 'Compare the relay and its engines with other relays, each in hosts of its own'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "merge" -d 'Merge the reports of clients that loaded one server together'
complete -c unmangle -n "__fish_unmangle_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and not __fish_seen_subcommand_from man completions help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and not __fish_seen_subcommand_from man completions help" -f -a "man" -d 'Write the manual pages, one for the program and one for each subcommand'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and not __fish_seen_subcommand_from man completions help" -f -a "completions" -d 'Print what completes the arguments in a shell'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and not __fish_seen_subcommand_from man completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and __fish_seen_subcommand_from man" -s h -l help -d 'Print help'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and __fish_seen_subcommand_from completions" -s h -l help -d 'Print help'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and __fish_seen_subcommand_from help" -f -a "man" -d 'Write the manual pages, one for the program and one for each subcommand'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and __fish_seen_subcommand_from help" -f -a "completions" -d 'Print what completes the arguments in a shell'
complete -c unmangle -n "__fish_unmangle_using_subcommand generate; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "run" -d 'Relay connections, and normalise the leg that crosses the firewall'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "status" -d 'Say how a relay does: whether it is ready, its rules, its listeners, its sessions and those that are stuck'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "top" -d 'Watch a relay: its sessions, what they carry, what it adds, what conntrack rejects'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "upgrade" -d 'Replace a relay by a new process, of a new version as well: its listeners, rules and running sessions go over'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "rules" -d 'Print the rules and routes that `unmangle run` would put in place, and touch nothing'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "normalise" -d 'Strip what a firewall gets wrong from SYN and SYN-ACK as they pass, and relay nothing'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "doctor" -d 'Look at this host: what is sound for a relay, what is not, and what would mend it'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "explain" -d 'Show why conntrack calls packets INVALID, from a capture'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "probe" -d 'Find out what the path between two hosts does to TCP, and what would undo it'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "lab" -d 'Prove it: hosts in network namespaces around an emulated firewall'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "bench" -d 'Measure: load a TCP path, direct and by way of a relay, and time it honestly'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "generate" -d 'Write manual pages, or completions for a shell'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and not __fish_seen_subcommand_from run status top upgrade rules normalise doctor explain probe lab bench generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from probe" -f -a "serve" -d 'Be the other end of `unmangle probe run`'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from probe" -f -a "run" -d 'Find out what the path to a host does to TCP: `unmangle probe serve` has to run there'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from probe" -f -a "sweep" -d 'Look for a firewall that mangles, from this end alone: nothing has to run on HOST'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from lab" -f -a "run" -d 'Make real transfers and print what became of them'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from lab" -f -a "list" -d 'Tell what the scenarios are'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from lab" -f -a "shell" -d 'Put up a scenario and leave it standing until the shell ends, stdin does, or Ctrl-C or SIGTERM'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from lab" -f -a "wire" -d 'One wire of the lab; started by the lab itself'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "serve" -d 'Be the other end of `unmangle bench run`: answer, discard and send as it asks'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "run" -d 'Load `unmangle bench serve`, and report what it took'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "compare" -d 'Compare the relay and its engines with other relays, each in hosts of its own'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "merge" -d 'Merge the reports of clients that loaded one server together'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from generate" -f -a "man" -d 'Write the manual pages, one for the program and one for each subcommand'
complete -c unmangle -n "__fish_unmangle_using_subcommand help; and __fish_seen_subcommand_from generate" -f -a "completions" -d 'Print what completes the arguments in a shell'
