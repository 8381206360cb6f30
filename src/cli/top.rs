//! `unmangle top`: how a relay does, on a terminal, for as long as somebody looks.

mod draw;
mod looked;
mod rows;
mod screen;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::Usage;
use super::status::asked;
use super::whom::Whom;
use looked::Looking;
use screen::{Next, Screen};

/// Watch a relay: its sessions, what they carry, what it adds, what conntrack rejects.
///
/// Keys are shown at the bottom. It asks at the relay's admin socket, every second, and changes nothing.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    whom: Whom,

    /// How often it asks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    every: Duration,
}

const EXAMPLES: &str = "\
Examples:
  unmangle top
  unmangle top --admin /run/unmangle/4711.sock --every 5s";

/// A key is heard at once; what was asked is looked for so often.
const GLANCE: Duration = Duration::from_millis(50);

fn every(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match (Duration::from_millis(200)..=Duration::from_secs(60)).contains(&time) {
        true => Ok(time),
        false => Err("from 200ms to 1m".to_owned()),
    }
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    if !stdout().is_terminal() {
        let why = "this is no terminal: `unmangle status` prints how a relay does once, --json for programs";
        return Err(Usage(why.to_owned()).into());
    }
    let address = args.whom.address()?;
    // Whoever cannot be asked is told of before the screen is taken.
    asked::<crate::admin::Status>(&address, "/api/status")?;
    let looking = Looking::start(address.clone(), args.every);
    // A panic gives the terminal back first.
    let mut terminal = ratatui::try_init().context("taking the terminal")?;
    let watched = watch(&mut terminal, &looking, Screen::new(address.to_string()));
    ratatui::restore();
    watched?;
    Ok(ExitCode::SUCCESS)
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    looking: &Looking,
    mut screen: Screen,
) -> anyhow::Result<()> {
    let mut changed = true;
    loop {
        while let Some(looked) = looking.next() {
            screen.sees(looked, Instant::now());
            changed = true;
        }
        if changed || screen.ages(Instant::now()) {
            terminal.draw(|frame| draw::draw(frame, &mut screen, Instant::now()))?;
        }
        changed = event::poll(GLANCE)?;
        if changed {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => match screen.hears(key) {
                    Next::GoOn => {}
                    Next::Quit => return Ok(()),
                },
                // Drawn anew in its new size.
                _ => {}
            }
        }
    }
}
