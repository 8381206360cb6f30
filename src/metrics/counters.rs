//! What is counted: every counter, the metric it is exported as, and its help text, each defined once.

use super::Direction;
use super::family::{BaseUnit, Definition, Family, Kind, Sample, Value};

macro_rules! counters {
    ($(
        #[doc = $help:literal]
        $family:literal $unit:ident ($($label:literal),*) {
            $($(#[doc = $note:literal])? $field:ident ($($value:literal),*),)+
        }
    )+) => {
        /// Counters, all since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $help] $(#[doc = $note])? pub $field: u64,)+)+ }

        /// What each is exported as. Those whose first label is `listener` are told for each listener.
        pub static COUNTERS: &[Definition] = &[$(Definition {
            name: $family,
            help: Definition::help($help),
            kind: Kind::Counter,
            unit: BaseUnit::$unit,
            labels: &[$($label),*],
        },)+];

        impl Counters {
            /// Name, value and help text of each, in the order of their definition.
            pub fn named(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$($((stringify!($field), self.$field, told(
                    Definition::help($help),
                    Definition::help(concat!("" $(, $note)?)),
                )),)+)+]
            }

            /// The one of this name, if there is one.
            pub(super) fn by_name(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $($(stringify!($field) => Some(&mut self.$field),)+)+
                    _ => None,
                }
            }

            /// Values and what they are labelled with beside the listener, metric by metric as in [`COUNTERS`].
            pub(super) fn labelled(&self) -> Vec<Vec<(&'static [&'static str], u64)>> {
                vec![$(vec![$((&[$($value),*] as &[&str], self.$field),)+],)+]
            }

            /// Adds others.
            pub fn add(&mut self, other: &Counters) {
                $($(self.$field += other.$field;)+)+
            }
        }
    };
}

counters! {
    /// Connections accepted, those included that the lists and limits reset.
    "unmangle_connections_accepted" None ("listener") { accepted (), }
    /// Sessions that ended, by who closed first and how: fin where both sides ended in order, otherwise whose reset or error broke it, even if an end had come before.
    "unmangle_sessions_ended" None ("listener", "closed_by", "how") {
        /// The client said that it sends no more, and both sides ended in order.
        client_fin ("client", "fin"),
        /// The client reset its leg.
        client_rst ("client", "rst"),
        /// The client did not answer, or took nothing any more.
        client_timeout ("client", "timeout"),
        /// The network said that the client cannot be reached.
        client_unreachable ("client", "unreachable"),
        /// Another error of the client's leg.
        client_error ("client", "error"),
        /// The server said that it sends no more, and both sides ended in order.
        server_fin ("server", "fin"),
        /// The server reset its leg.
        server_rst ("server", "rst"),
        /// The server did not answer, or took nothing any more.
        server_timeout ("server", "timeout"),
        /// The network said that the server cannot be reached.
        server_unreachable ("server", "unreachable"),
        /// Another error of the server's leg.
        server_error ("server", "error"),
        /// No byte had moved either way for the idle timeout.
        relay_idle ("relay", "idle"),
        /// It was stuck.
        relay_stall ("relay", "stall"),
        /// The drain deadline.
        relay_drain ("relay", "drain"),
        /// An error of the relay's own.
        relay_error ("relay", "error"),
    }
    /// The same sessions by outcome: closed is in order on both sides, aborted is by a reset, a timeout or the relay.
    "unmangle_sessions" None ("listener", "outcome") {
        /// Sessions that both sides closed in order.
        sessions_closed ("closed"),
        /// Sessions ended by a reset, a timeout or the relay.
        sessions_aborted ("aborted"),
    }
    /// Dials that failed after the client had been accepted; it was reset. By kind they are in unmangle_errors_total.
    "unmangle_dial_failures" None ("listener") { dial_failures (), }
    /// Sessions that never came to relaying, by the leg that failed and what went wrong; dials for opening packets that are held count here, too.
    "unmangle_errors" None ("listener", "leg", "kind") {
        /// The server refused the connection.
        dials_refused ("upstream", "refused"),
        /// The server did not answer in time.
        dials_timed_out ("upstream", "timeout"),
        /// The network said that the server cannot be reached.
        dials_unreachable ("upstream", "unreachable"),
        /// The target's name leads nowhere.
        dials_unknown ("upstream", "name"),
        /// Anything else that keeps a dial from succeeding.
        dials_otherwise_failed ("upstream", "other"),
        /// The client was gone before the server had answered.
        clients_gone ("downstream", "gone"),
        /// Connections from proxies that were reset because no valid PROXY header came.
        headers_refused ("downstream", "header"),
        /// The client's socket, or the server's, was unusable.
        legs_unusable ("relay", "socket"),
        /// The drain deadline was over before the session had begun.
        dials_aborted ("relay", "drain"),
    }
    /// Dials from another port than the client's, because that one could not be bound.
    "unmangle_port_fallbacks" None ("listener") { port_fallbacks (), }
    /// Connections that were not let in, by the limit that was hit; those of max_connections waited, the others were reset.
    "unmangle_limit_hits" None ("listener", "limit") {
        /// Connections reset because of the lists allow and deny.
        refused_by_lists ("lists"),
        /// Connections reset because they led to the relay itself.
        refused_own ("own_address"),
        /// Connections reset because their source had too many at a time.
        refused_too_many ("max_per_source"),
        /// Connections reset because their source opened too many within a time.
        refused_too_fast ("rate_per_source"),
        /// Connections that waited to be accepted because there were as many as there may be.
        accept_waits ("max_connections"),
    }
    /// Lines of the log that were left out because there were too many of their kind.
    "unmangle_log_lines_left_out" None () { lines_left_out (), }
    /// Pauses because this host had run out of descriptors or memory, by what had to wait.
    "unmangle_shortage_pauses" None ("listener", "waiting") {
        /// Pauses of an accept loop.
        accept_pauses ("accept"),
        /// Pauses before a dial.
        dial_pauses ("dial"),
    }
    /// Times that something of this host ran out, by what it was.
    "unmangle_shortages" None ("resource") {
        /// Descriptors of the process (EMFILE), at accept, dial or pipe.
        short_of_descriptors ("descriptors"),
        /// Open files of the system, or a user's pages for pipes (ENFILE).
        short_of_files ("files"),
        /// Memory or buffers (ENOMEM, ENOBUFS).
        short_of_memory ("memory"),
    }
    /// Intervals that could not be written to the file of hdr-log.
    "unmangle_hdr_log_intervals_lost" None () { hdr_log_intervals_lost (), }
    /// Reloads of the settings (SIGHUP), by whether they were taken on; where refused, the old ones stayed.
    "unmangle_reloads" None ("result") {
        /// Reloads (SIGHUP) that were taken on.
        reloads ("taken_on"),
        /// Reloads (SIGHUP) that were refused; the old settings stayed.
        reloads_refused ("refused"),
    }
    /// Connections that another gateway has relayed, of which segments came here, and both ends of which were reset.
    "unmangle_strangers" None () { strangers (), }
    /// Opening packets held until the server answered.
    "unmangle_held_syns" None ("listener") { held (), }
    /// What became of opening packets that were held.
    "unmangle_held_syns_settled" None ("listener", "outcome") {
        /// Let through, because the server accepted.
        held_released ("released"),
        /// Answered by a reset, because the server refused.
        held_refused ("refused"),
        /// Answered by ICMP, because the server was unreachable or silent.
        held_unreachable ("unreachable"),
    }
    /// Connections to servers that were closed because the client, whose opening packet had been held, never completed its own.
    "unmangle_held_stale" None () { held_stale (), }
    /// Opening packets repeated while they were held or after they were let through; not dialled again.
    "unmangle_held_syn_repeats" None ("listener") { held_repeats (), }
    /// Opening packets answered at once, because the table was full or the relay could not dial.
    "unmangle_held_syn_fallbacks" None () { held_fell_back (), }
    /// Sessions told to end because no byte had moved either way for the idle timeout.
    "unmangle_idle_resets" None ("listener") { idle_resets (), }
    /// Stalls: bytes waited and none moved, by the side that is stuck and why.
    "unmangle_stalls" None ("listener", "side", "why") {
        /// The client answered and did not read.
        stalls_window_client ("client", "window"),
        /// The server answered and did not read.
        stalls_window_server ("server", "window"),
        /// The client, or the way to it, did not answer.
        stalls_unacked_client ("client", "unacknowledged"),
        /// The server, or the way to it, did not answer.
        stalls_unacked_server ("server", "unacknowledged"),
        /// They waited in the relay, although the receiver had taken all before them.
        stalls_pipe ("relay", "pipe"),
    }
    /// Stalls that ended because bytes moved again.
    "unmangle_stalls_over" None ("listener") { stalls_over (), }
    /// Sessions told to end because they were stuck.
    "unmangle_stall_resets" None ("listener") { stall_resets (), }
    /// Bytes passed on: as they pass with the engine splice, at the end of their session with the others.
    "unmangle_passed_bytes" Bytes ("listener", "direction") {
        /// Bytes passed on from client to server.
        bytes_client_to_server ("client_to_server"),
        /// Bytes passed on from server to client.
        bytes_server_to_client ("server_to_client"),
    }
    /// Reads from a leg, by how the bytes went on: through a pipe (splice) or the shared buffer (copy). Counted by the engine splice only.
    "unmangle_reads" None ("listener", "direction", "method") {
        /// Reads from the client that went on through a pipe.
        splices_client_to_server ("client_to_server", "splice"),
        /// Reads from the server that went on through a pipe.
        splices_server_to_client ("server_to_client", "splice"),
        /// Reads from the client that went on through the shared buffer.
        copies_client_to_server ("client_to_server", "copy"),
        /// Reads from the server that went on through the shared buffer.
        copies_server_to_client ("server_to_client", "copy"),
    }
    /// Segments sent again on a leg.
    "unmangle_retransmits" None ("listener", "leg") {
        /// Segments sent again to the client.
        retransmits_downstream ("downstream"),
        /// Segments sent again to the server.
        retransmits_upstream ("upstream"),
    }
    /// Times a pipe was wanted and refused; the bytes were copied.
    "unmangle_pipes_refused" None () { pipes_refused (), }
    /// Stalled pipes that were emptied because others needed them.
    "unmangle_pipes_evicted" None () { pipes_evicted (), }
}

/// The help text of the metric, and what is special to one of its values.
const fn told(help: &'static str, note: &'static str) -> &'static str {
    if note.is_empty() { help } else { note }
}

// === impl Counters ===

impl Counters {
    /// What counts the bytes of a direction.
    pub fn bytes(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::ClientToServer => &mut self.bytes_client_to_server,
            Direction::ServerToClient => &mut self.bytes_server_to_client,
        }
    }

    /// What counts the reads of a direction that went through a pipe.
    pub fn splices(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::ClientToServer => &mut self.splices_client_to_server,
            Direction::ServerToClient => &mut self.splices_server_to_client,
        }
    }

    /// What counts the reads of a direction that went through the shared buffer.
    pub fn copies(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::ClientToServer => &mut self.copies_client_to_server,
            Direction::ServerToClient => &mut self.copies_server_to_client,
        }
    }
}

/// The counters of all listeners, and of the process, as metrics.
pub(super) fn families(listeners: &[(&str, &Counters)], process: &Counters) -> Vec<Family> {
    let mut families: Vec<Family> = COUNTERS.iter().map(Family::empty).collect();
    let mut all = *process;
    for (name, counters) in listeners {
        all.add(counters);
        for (family, values) in families.iter_mut().zip(counters.labelled()) {
            if family.definition.labels.first() == Some(&"listener") {
                let before = [*name];
                let samples = values
                    .iter()
                    .map(|(labels, value)| sample(&before, labels, *value));
                family.samples.extend(samples);
            }
        }
    }
    for (family, values) in families.iter_mut().zip(all.labelled()) {
        if family.definition.labels.first() != Some(&"listener") {
            let samples = values
                .iter()
                .map(|(labels, value)| sample(&[], labels, *value));
            family.samples.extend(samples);
        }
    }
    families
}

fn sample(before: &[&str], labels: &[&str], value: u64) -> Sample {
    let labels = before.iter().chain(labels);
    Sample {
        labels: labels.map(|label| (*label).to_owned()).collect(),
        value: Value::Count(value),
    }
}

#[cfg(test)]
mod told;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_by_name() {
        let mut one = Counters {
            accepted: 2,
            ..Counters::default()
        };
        one.add(&Counters {
            accepted: 3,
            ..Counters::default()
        });
        assert_eq!(
            one.named()[0],
            (
                "accepted",
                5,
                "Connections accepted, those included that the lists and limits reset"
            )
        );
    }

    #[test]
    fn every_value_has_as_many_labels_as_its_metric_and_no_two_the_same() {
        for (definition, values) in COUNTERS.iter().zip(Counters::default().labelled()) {
            let own = usize::from(definition.labels.first() == Some(&"listener"));
            let mut seen: Vec<&[&str]> = Vec::new();
            for (labels, _) in values {
                assert_eq!(
                    labels.len() + own,
                    definition.labels.len(),
                    "{}",
                    definition.name
                );
                assert!(!seen.contains(&labels), "{} {labels:?}", definition.name);
                seen.push(labels);
            }
        }
    }

    #[test]
    fn what_is_of_a_listener_is_told_for_each_and_the_rest_once_for_all() {
        let ssh = Counters {
            accepted: 1,
            short_of_files: 2,
            ..Counters::default()
        };
        let rsync = Counters {
            accepted: 4,
            short_of_files: 8,
            ..Counters::default()
        };
        let process = Counters {
            short_of_files: 16,
            ..Counters::default()
        };
        let families = families(&[("ssh", &ssh), ("rsync", &rsync)], &process);
        let told = |name: &str| -> Vec<(String, u64)> {
            let family = families
                .iter()
                .find(|family| family.definition.name == name);
            let samples = family.unwrap().samples.iter();
            samples
                .map(|sample| match sample.value {
                    Value::Count(count) => (sample.labels.join(","), count),
                    _ => panic!("{name} is a counter"),
                })
                .collect()
        };
        let each = |ssh, rsync| vec![("ssh".to_owned(), ssh), ("rsync".to_owned(), rsync)];
        assert_eq!(told("unmangle_connections_accepted"), each(1, 4));
        assert!(told("unmangle_shortages").contains(&("files".to_owned(), 26)));
    }
}
