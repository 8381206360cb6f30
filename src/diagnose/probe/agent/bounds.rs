//! What an end does not do, whoever asks for it: an order comes from another host.

use crate::diagnose::probe::order::{Echoes, Order, Refusal, Spec, Train};

/// The longest packet, IP header included.
pub const LONGEST: u16 = 9000;
/// Flows at one time.
pub const FLOWS: usize = 64;
/// The longest time that anything is waited for, in milliseconds.
const PATIENCE_MS: u32 = 60_000;
/// The longest time between two packets, in microseconds.
const GAP_US: u32 = 100_000;

/// Refuses what is beyond what [`Order`] says.
///
/// # Errors
/// Says which bound it is.
pub fn check(order: &Order, ip_header: u16) -> Result<(), Refusal> {
    match order {
        Order::Await { patience_ms, .. }
        | Order::Overhear { patience_ms, .. }
        | Order::EchoHarvest { patience_ms, .. } => {
            within("patience", *patience_ms, 0, PATIENCE_MS)
        }
        Order::Send { segment, .. } => spec(segment, ip_header),
        Order::Receive { ack, .. } => spec(ack, ip_header),
        Order::Train { train, .. } => check_train(train, ip_header),
        Order::Echo { echoes } => check_echoes(echoes, ip_header),
        Order::Open { .. } | Order::Watch { .. } | Order::Harvest { .. } | Order::Close { .. } => {
            Ok(())
        }
    }
}

fn check_train(train: &Train, ip_header: u16) -> Result<(), Refusal> {
    spec(&train.first, ip_header)?;
    within("count", train.count, 1, 20_000)?;
    let least = ip_header + 44;
    within("length", train.length.into(), least.into(), LONGEST.into())?;
    within("gap", train.gap_us, 0, GAP_US)?;
    within("patience", train.patience_us, 0, PATIENCE_MS * 1000)
}

fn check_echoes(echoes: &Echoes, ip_header: u16) -> Result<(), Refusal> {
    within("count", echoes.count.into(), 1, 1000)?;
    let least = ip_header + 44;
    within("length", echoes.length.into(), least.into(), LONGEST.into())?;
    within("gap", echoes.gap_us, 0, GAP_US)
}

fn spec(spec: &Spec, ip_header: u16) -> Result<(), Refusal> {
    within("options", spec.options.0.len() as u32, 0, 40)?;
    let room = LONGEST - ip_header - 60;
    within("payload", spec.payload.into(), 0, room.into())
}

fn within(what: &str, value: u32, least: u32, most: u32) -> Result<(), Refusal> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let text = format!("{what} {value} is not within {least} to {most}");
    Err(Refusal::Other(text))
}
