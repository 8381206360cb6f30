//! What is on the screen, and what keys do to it: pure, but for the time that is given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::looked::{Answer, Looked};
use super::rows::{self, By, Filter};
use crate::admin::Session;

/// What is on the screen.
#[derive(Debug)]
pub struct Screen {
    /// Who is asked.
    pub address: String,
    /// What was answered last.
    pub answer: Option<Answer>,
    /// Since when nobody answers, and why.
    pub silent: Option<(Instant, String)>,
    /// What sessions are ordered by.
    pub by: By,
    /// Whether the other way round.
    pub reversed: bool,
    /// Which are shown.
    pub filter: Filter,
    /// Whether keys go to the filter.
    pub types: bool,
    /// Whether what is answered is left aside.
    pub pauses: bool,
    /// Whether the keys are explained.
    pub explains: bool,
    /// The session that is chosen, by its id: it stays chosen wherever it goes.
    pub chosen: Option<String>,
    /// The first row that is drawn.
    pub top: usize,
    /// Bytes a second, to the server and to the client, one for each answer, the last one at the end.
    pub rates: VecDeque<(u64, u64)>,
    drawn_silent: Option<u64>,
}

/// What comes of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    GoOn,
    /// It is over.
    Quit,
}

/// So many answers are kept: the width of a wide terminal.
const KEPT: usize = 300;
/// Rows that a page key passes.
const PAGE: isize = 10;

// === impl Screen ===

impl Screen {
    /// Before the first answer.
    pub fn new(address: String) -> Self {
        Self {
            address,
            answer: None,
            silent: None,
            by: By::default(),
            reversed: false,
            filter: Filter::default(),
            types: false,
            pauses: false,
            explains: false,
            chosen: None,
            top: 0,
            rates: VecDeque::new(),
            drawn_silent: None,
        }
    }

    /// Takes what was answered.
    pub fn sees(&mut self, looked: Looked, now: Instant) {
        match looked {
            Ok(answer) => {
                self.silent = None;
                if self.pauses {
                    return;
                }
                let sum = |of: fn(&Session) -> Option<u64>| -> u64 {
                    answer.sessions.sessions.iter().filter_map(of).sum()
                };
                let rates = (
                    sum(|session| session.client_to_server.bytes_per_second),
                    sum(|session| session.server_to_client.bytes_per_second),
                );
                self.rates.push_back(rates);
                if self.rates.len() > KEPT {
                    self.rates.pop_front();
                }
                self.answer = Some(answer);
            }
            Err(why) => {
                let since = self.silent.take().map_or(now, |(since, _)| since);
                self.silent = Some((since, why));
            }
        }
    }

    /// Whether what is drawn says another time by now.
    pub fn ages(&mut self, now: Instant) -> bool {
        let silent = self.silent.as_ref();
        let silent = silent.map(|(since, _)| now.saturating_duration_since(*since).as_secs());
        std::mem::replace(&mut self.drawn_silent, silent) != silent
    }

    /// For how long nobody has answered, and why.
    pub fn silence(&self, now: Instant) -> Option<(Duration, &str)> {
        let (since, why) = self.silent.as_ref()?;
        Some((now.saturating_duration_since(*since), why))
    }

    /// The sessions that are shown, in their order.
    pub fn shown(&self) -> Vec<&Session> {
        match &self.answer {
            Some(answer) => rows::shown(
                &answer.sessions.sessions,
                &self.filter,
                self.by,
                self.reversed,
            ),
            None => Vec::new(),
        }
    }

    /// The row of the chosen session, if it is shown.
    pub fn chosen_row(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.shown().iter().position(|each| each.id == *chosen)
    }

    /// Does what a key asks for.
    pub fn hears(&mut self, key: KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.types {
            self.typed(key.code);
            return Next::GoOn;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.explains => self.explains = false,
            KeyCode::Esc => self.filter = Filter::default(),
            KeyCode::Char('?' | 'h') => self.explains = !self.explains,
            KeyCode::Char('/') => self.types = true,
            KeyCode::Char('t') => self.filter.stuck = !self.filter.stuck,
            KeyCode::Char(' ') => self.pauses = !self.pauses,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Right | KeyCode::Char('s') => self.by = self.by.beside(1),
            KeyCode::Left | KeyCode::Char('S') => self.by = self.by.beside(-1),
            KeyCode::Down | KeyCode::Char('j') => self.moves(1),
            KeyCode::Up | KeyCode::Char('k') => self.moves(-1),
            KeyCode::PageDown => self.moves(PAGE),
            KeyCode::PageUp => self.moves(-PAGE),
            KeyCode::Home => self.moves(isize::MIN),
            KeyCode::End => self.moves(isize::MAX),
            _ => {}
        }
        Next::GoOn
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.types = false,
            KeyCode::Esc => {
                self.types = false;
                self.filter.text.clear();
            }
            KeyCode::Backspace => drop(self.filter.text.pop()),
            KeyCode::Char(letter) => self.filter.text.push(letter),
            _ => {}
        }
    }

    fn moves(&mut self, rows: isize) {
        let shown = self.shown();
        let Some(last) = shown.len().checked_sub(1) else {
            return;
        };
        let to = match self.chosen_row() {
            Some(row) => row.saturating_add_signed(rows).min(last),
            // The first key chooses, and moves nowhere.
            None if rows > 0 => 0,
            None => last,
        };
        self.chosen = Some(shown[to].id.clone());
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::admin::Sessions;
    use crate::cli::top::looked::tests::status;
    use crate::cli::top::rows::tests::session;

    /// One that has seen sessions with these bytes and rates.
    pub fn screen(sessions: &[(u64, u64)]) -> Screen {
        let each = (1..).zip(sessions);
        let sessions: Vec<_> = each
            .map(|(id, (bytes, rate))| session(id, *bytes, *rate))
            .collect();
        let mut screen = Screen::new("/run/unmangle/1.sock".to_owned());
        let sessions = Sessions {
            live: sessions.len() as u64,
            more: false,
            sessions,
        };
        let answer = Answer {
            status: status(),
            sessions,
        };
        screen.sees(Ok(answer), Instant::now());
        screen
    }

    fn press(screen: &mut Screen, keys: &str) -> Next {
        let mut next = Next::GoOn;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\x08' => KeyCode::Backspace,
                letter => KeyCode::Char(letter),
            };
            next = screen.hears(code.into());
        }
        next
    }

    #[test]
    fn who_is_chosen_stays_so_when_the_order_changes() {
        let mut screen = screen(&[(10, 1), (20, 9), (30, 5)]);
        press(&mut screen, "j");
        assert_eq!(screen.chosen.as_deref(), Some("0-2"));
        press(&mut screen, "s");
        assert_eq!((screen.by, screen.chosen_row()), (By::Bytes, Some(1)));
        press(&mut screen, "jjjj");
        assert_eq!(screen.chosen.as_deref(), Some("0-1"));
        press(&mut screen, "kkkkk");
        assert_eq!(screen.chosen.as_deref(), Some("0-3"));
    }

    #[test]
    fn a_filter_is_typed_and_taken_back_and_keys_are_letters_meanwhile() {
        let mut screen = screen(&[(10, 1), (20, 9)]);
        assert_eq!(press(&mut screen, "/2.1q\x08:"), Next::GoOn);
        assert_eq!(screen.filter.text, "2.1:");
        assert_eq!(screen.shown().len(), 1);
        press(&mut screen, "\n");
        assert_eq!(press(&mut screen, "q"), Next::Quit);
        press(&mut screen, "\x1b");
        assert_eq!(screen.shown().len(), 2);
    }

    #[test]
    fn ctrl_c_ends_it_even_while_a_filter_is_typed() {
        let mut screen = screen(&[]);
        press(&mut screen, "/");
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.hears(control_c), Next::Quit);
    }

    #[test]
    fn what_was_answered_stays_while_nobody_answers_and_the_time_is_told() {
        let mut screen = screen(&[(10, 1)]);
        let now = Instant::now();
        screen.sees(Err("no answer".to_owned()), now);
        screen.sees(Err("refused".to_owned()), now + Duration::from_secs(3));
        let later = now + Duration::from_secs(5);
        assert_eq!(
            screen.silence(later),
            Some((Duration::from_secs(5), "refused"))
        );
        assert!(screen.ages(later) && !screen.ages(later));
        assert_eq!(screen.shown().len(), 1);
    }

    #[test]
    fn a_pause_holds_what_is_shown() {
        let mut one = screen(&[(10, 1)]);
        press(&mut one, " ");
        let other = screen(&[(10, 1), (20, 2)]).answer.unwrap();
        one.sees(Ok(other.clone()), Instant::now());
        assert_eq!(one.shown().len(), 1);
        press(&mut one, " ");
        one.sees(Ok(other), Instant::now());
        assert_eq!(one.shown().len(), 2);
    }
}
