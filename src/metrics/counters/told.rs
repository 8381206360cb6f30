//! Each counter beside what it is exported as, written down by hand: two that were exchanged in their definition would
//! be told as each other, and nothing else would notice.

use std::collections::BTreeSet;

use super::{Counters, families};
use crate::metrics::Value;

type Field = fn(&mut Counters) -> &mut u64;

/// Counter, metric, labels.
#[rustfmt::skip]
const TOLD: &[(Field, &str, &str)] = &[
    (|c| &mut c.accepted, "unmangle_connections_accepted", "listener=ssh"),
    (|c| &mut c.client_fin, "unmangle_sessions_ended", "listener=ssh closed_by=client how=fin"),
    (|c| &mut c.client_rst, "unmangle_sessions_ended", "listener=ssh closed_by=client how=rst"),
    (|c| &mut c.client_timeout, "unmangle_sessions_ended", "listener=ssh closed_by=client how=timeout"),
    (|c| &mut c.client_unreachable, "unmangle_sessions_ended", "listener=ssh closed_by=client how=unreachable"),
    (|c| &mut c.client_error, "unmangle_sessions_ended", "listener=ssh closed_by=client how=error"),
    (|c| &mut c.server_fin, "unmangle_sessions_ended", "listener=ssh closed_by=server how=fin"),
    (|c| &mut c.server_rst, "unmangle_sessions_ended", "listener=ssh closed_by=server how=rst"),
    (|c| &mut c.server_timeout, "unmangle_sessions_ended", "listener=ssh closed_by=server how=timeout"),
    (|c| &mut c.server_unreachable, "unmangle_sessions_ended", "listener=ssh closed_by=server how=unreachable"),
    (|c| &mut c.server_error, "unmangle_sessions_ended", "listener=ssh closed_by=server how=error"),
    (|c| &mut c.relay_idle, "unmangle_sessions_ended", "listener=ssh closed_by=relay how=idle"),
    (|c| &mut c.relay_stall, "unmangle_sessions_ended", "listener=ssh closed_by=relay how=stall"),
    (|c| &mut c.relay_drain, "unmangle_sessions_ended", "listener=ssh closed_by=relay how=drain"),
    (|c| &mut c.relay_error, "unmangle_sessions_ended", "listener=ssh closed_by=relay how=error"),
    (|c| &mut c.sessions_closed, "unmangle_sessions", "listener=ssh outcome=closed"),
    (|c| &mut c.sessions_aborted, "unmangle_sessions", "listener=ssh outcome=aborted"),
    (|c| &mut c.dial_failures, "unmangle_dial_failures", "listener=ssh"),
    (|c| &mut c.dials_refused, "unmangle_errors", "listener=ssh leg=upstream kind=refused"),
    (|c| &mut c.dials_timed_out, "unmangle_errors", "listener=ssh leg=upstream kind=timeout"),
    (|c| &mut c.dials_unreachable, "unmangle_errors", "listener=ssh leg=upstream kind=unreachable"),
    (|c| &mut c.dials_unknown, "unmangle_errors", "listener=ssh leg=upstream kind=name"),
    (|c| &mut c.dials_otherwise_failed, "unmangle_errors", "listener=ssh leg=upstream kind=other"),
    (|c| &mut c.clients_gone, "unmangle_errors", "listener=ssh leg=downstream kind=gone"),
    (|c| &mut c.headers_refused, "unmangle_errors", "listener=ssh leg=downstream kind=header"),
    (|c| &mut c.legs_unusable, "unmangle_errors", "listener=ssh leg=relay kind=socket"),
    (|c| &mut c.dials_aborted, "unmangle_errors", "listener=ssh leg=relay kind=drain"),
    (|c| &mut c.port_fallbacks, "unmangle_port_fallbacks", "listener=ssh"),
    (|c| &mut c.refused_by_lists, "unmangle_limit_hits", "listener=ssh limit=lists"),
    (|c| &mut c.refused_own, "unmangle_limit_hits", "listener=ssh limit=own_address"),
    (|c| &mut c.refused_too_many, "unmangle_limit_hits", "listener=ssh limit=max_per_source"),
    (|c| &mut c.refused_too_fast, "unmangle_limit_hits", "listener=ssh limit=rate_per_source"),
    (|c| &mut c.accept_waits, "unmangle_limit_hits", "listener=ssh limit=max_connections"),
    (|c| &mut c.lines_left_out, "unmangle_log_lines_left_out", ""),
    (|c| &mut c.accept_pauses, "unmangle_shortage_pauses", "listener=ssh waiting=accept"),
    (|c| &mut c.dial_pauses, "unmangle_shortage_pauses", "listener=ssh waiting=dial"),
    (|c| &mut c.short_of_descriptors, "unmangle_shortages", "resource=descriptors"),
    (|c| &mut c.short_of_files, "unmangle_shortages", "resource=files"),
    (|c| &mut c.short_of_memory, "unmangle_shortages", "resource=memory"),
    (|c| &mut c.hdr_log_intervals_lost, "unmangle_hdr_log_intervals_lost", ""),
    (|c| &mut c.reloads, "unmangle_reloads", "result=taken_on"),
    (|c| &mut c.reloads_refused, "unmangle_reloads", "result=refused"),
    (|c| &mut c.strangers, "unmangle_strangers", ""),
    (|c| &mut c.held, "unmangle_held_syns", "listener=ssh"),
    (|c| &mut c.held_released, "unmangle_held_syns_settled", "listener=ssh outcome=released"),
    (|c| &mut c.held_refused, "unmangle_held_syns_settled", "listener=ssh outcome=refused"),
    (|c| &mut c.held_unreachable, "unmangle_held_syns_settled", "listener=ssh outcome=unreachable"),
    (|c| &mut c.held_stale, "unmangle_held_stale", ""),
    (|c| &mut c.held_repeats, "unmangle_held_syn_repeats", "listener=ssh"),
    (|c| &mut c.held_fell_back, "unmangle_held_syn_fallbacks", ""),
    (|c| &mut c.idle_resets, "unmangle_idle_resets", "listener=ssh"),
    (|c| &mut c.stalls_window_client, "unmangle_stalls", "listener=ssh side=client why=window"),
    (|c| &mut c.stalls_window_server, "unmangle_stalls", "listener=ssh side=server why=window"),
    (|c| &mut c.stalls_unacked_client, "unmangle_stalls", "listener=ssh side=client why=unacknowledged"),
    (|c| &mut c.stalls_unacked_server, "unmangle_stalls", "listener=ssh side=server why=unacknowledged"),
    (|c| &mut c.stalls_pipe, "unmangle_stalls", "listener=ssh side=relay why=pipe"),
    (|c| &mut c.stalls_over, "unmangle_stalls_over", "listener=ssh"),
    (|c| &mut c.stall_resets, "unmangle_stall_resets", "listener=ssh"),
    (|c| &mut c.bytes_client_to_server, "unmangle_passed_bytes", "listener=ssh direction=client_to_server"),
    (|c| &mut c.bytes_server_to_client, "unmangle_passed_bytes", "listener=ssh direction=server_to_client"),
    (|c| &mut c.splices_client_to_server, "unmangle_reads", "listener=ssh direction=client_to_server method=splice"),
    (|c| &mut c.splices_server_to_client, "unmangle_reads", "listener=ssh direction=server_to_client method=splice"),
    (|c| &mut c.copies_client_to_server, "unmangle_reads", "listener=ssh direction=client_to_server method=copy"),
    (|c| &mut c.copies_server_to_client, "unmangle_reads", "listener=ssh direction=server_to_client method=copy"),
    (|c| &mut c.retransmits_downstream, "unmangle_retransmits", "listener=ssh leg=downstream"),
    (|c| &mut c.retransmits_upstream, "unmangle_retransmits", "listener=ssh leg=upstream"),
    (|c| &mut c.pipes_refused, "unmangle_pipes_refused", ""),
    (|c| &mut c.pipes_evicted, "unmangle_pipes_evicted", ""),
];

/// Everything that is not 0, as it is exported: metric and labels.
fn counted(counters: &Counters) -> Vec<(&'static str, String)> {
    let mut counted = Vec::new();
    for family in families(&[("ssh", counters)], &Counters::default()) {
        for sample in family.samples {
            let labels = family.definition.labels.iter().zip(&sample.labels);
            let labels: Vec<_> = labels
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            match sample.value {
                Value::Count(0) => {}
                Value::Count(1) => counted.push((family.definition.name, labels.join(" "))),
                other => panic!("{} {labels:?}: {other:?}", family.definition.name),
            }
        }
    }
    counted
}

#[test]
fn each_counter_is_told_as_itself_and_as_nothing_else() {
    let mut seen = BTreeSet::new();
    for (field, metric, labels) in TOLD {
        let mut counters = Counters::default();
        *field(&mut counters) = 1;
        assert_eq!(counted(&counters), [(*metric, (*labels).to_owned())]);
        let fields = counters.named().into_iter();
        seen.extend(
            fields
                .filter(|(_, value, _)| *value == 1)
                .map(|(name, ..)| name),
        );
    }
    let all = Counters::default().named().into_iter();
    let missing: Vec<_> = all
        .map(|(name, ..)| name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert_eq!(missing, [""; 0], "not in the table of this test");
}
