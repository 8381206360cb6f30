//! How opening packets come into the queue, and how they are answered when they come out, as statements of
//! nftables. What decides is the packet's mark, which the relay sets when it lets a packet out.

use super::plan::{Holding, Queueing};
use crate::config::{AnswerMark, Mark};

/// The chain that holds; none where iptables does it.
pub(super) fn chain(holding: Holding) -> String {
    if holding.by == Queueing::Iptables {
        return String::new();
    }
    let hold = holding.mark.hold();
    let queue = holding.queue;
    format!(
        "\t# They wait until the server has answered; if nobody reads the queue, they do not.\n\
         \tchain hold {{\n\
         \t\ttype filter hook prerouting priority raw - 5; policy accept;\n\
         \t\tmeta mark & {hold:#010x} == {hold:#010x} queue flags bypass to {queue}\n\
         \t}}\n\n"
    )
}

/// What answers the clients of servers that are not to be had: after conntrack, to which the answers then
/// belong to the connection, and before the listener.
pub(super) fn answers(mark: Mark, holding: Holding) -> String {
    let of = |answer: u32| {
        let all = mark.0 | answers_of(holding.mark);
        format!("meta mark & {all:#010x} == {:#010x}", mark.0 | answer)
    };
    let opening = "tcp flags & (fin | syn | rst | ack) == syn";
    let refused = of(holding.mark.refused());
    let host = of(holding.mark.host_unreachable());
    let network = of(holding.mark.network_unreachable());
    format!(
        "\t\t{refused} {opening} reject with tcp reset\n\
         \t\t{host} {opening} reject with icmpx type host-unreachable\n\
         \t\t{network} {opening} reject with icmpx type no-route\n"
    )
}

/// The bits that tell answers apart.
fn answers_of(mark: AnswerMark) -> u32 {
    mark.network_unreachable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_MARK, Hold};

    fn holding(by: Queueing) -> Holding {
        let Hold { mark, queue, .. } = Hold::default();
        Holding { mark, queue, by }
    }

    #[test]
    fn the_queue_lets_pass_what_nobody_reads() {
        let chain = chain(holding(Queueing::Nft));
        assert!(
            chain.contains("== 0x08000000 queue flags bypass to 21837\n"),
            "{chain}"
        );
    }

    #[test]
    fn where_iptables_holds_the_table_has_the_answers_alone() {
        assert_eq!(chain(holding(Queueing::Iptables)), "");
        let answers = answers(DEFAULT_MARK, holding(Queueing::Iptables));
        assert!(
            answers.contains("meta mark & 0x32000000 == 0x12000000 tcp flags"),
            "{answers}"
        );
        assert_eq!(answers.lines().count(), 3);
    }
}
