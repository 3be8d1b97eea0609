//! What happens in a menu: prompts, keys, repeats, sub-menus.

use std::collections::VecDeque;

use proto::svaml::{Menu, MenuTarget, RunMenu};

use crate::bodies::{MenuResult, MenuResultKind};
use crate::prompt;
use crate::report::{Ending, What};
use crate::script::Input;
use crate::timeline::Timeline;

const MAIN_MENU: &str = "main";
const TIMEOUT_DEFAULT_MS: u32 = 5_000;
/// The default of the server SDK, the one source that states one.
const REPEATS_DEFAULT: u32 = 3;
/// No caller hears more of a menu than this, whatever it says.
const REPEATS_MAX: u32 = 20;
/// From the moment a caller may press to the first key, and from key to key.
const KEY_MS: u64 = 1_000;

/// Lets the caller use the menu until it has a result.
///
/// # Errors
/// The ending, when the call ends meanwhile.
pub(crate) fn run(run: &RunMenu, inputs: &mut VecDeque<Input>, line: &mut Timeline<'_>) -> Result<MenuResult, Ending> {
    let mut id = run.main_menu.as_deref().unwrap_or(MAIN_MENU);
    loop {
        let Some(menu) = run.menus.iter().find(|menu| menu.id == id) else {
            return Ok(result(id, MenuResultKind::Error, ""));
        };
        match visit(menu, run.barge.unwrap_or(true), inputs, line)? {
            Left::Result(result) => return Ok(result),
            // Each visit takes an input, and silence never leads to another menu: the loop ends.
            Left::For(next) => id = next,
        }
    }
}

/// How a visit to one menu ended.
enum Left<'a> {
    For(&'a str),
    Result(MenuResult),
}

fn visit<'a>(
    menu: &'a Menu,
    barge: bool,
    inputs: &mut VecDeque<Input>,
    line: &mut Timeline<'_>,
) -> Result<Left<'a>, Ending> {
    let repeats = menu.repeats.unwrap_or(REPEATS_DEFAULT).min(REPEATS_MAX);
    let mut failure = MenuResultKind::Timeout;
    for round in 0..=repeats {
        let main = menu.main_prompt.as_deref();
        let prompt = if round == 0 { main } else { menu.repeat_prompt.as_deref().or(main) };
        match inputs.pop_front().unwrap_or(Input::Silence) {
            Input::Silence => {
                hear(prompt.unwrap_or_default(), line)?;
                line.pass(menu.timeout_mills.unwrap_or(TIMEOUT_DEFAULT_MS).into())?;
                line.note(What::Silent);
                failure = MenuResultKind::Timeout;
            }
            Input::HangUp => {
                line.pass(KEY_MS)?;
                return Ok(Left::Result(result(&menu.id, MenuResultKind::Hangup, "")));
            }
            Input::Digits(keys) => {
                listen(prompt.unwrap_or_default(), barge, line)?;
                let taken = taken(menu, &keys);
                line.pass(KEY_MS * taken.chars().count() as u64)?;
                line.note(What::Pressed { digits: taken.to_owned() });
                match outcome(menu, taken) {
                    Some(left) => return Ok(left),
                    None => failure = MenuResultKind::InvalidInput,
                }
            }
        }
    }
    Ok(Left::Result(result(&menu.id, failure, "")))
}

/// The keys the menu takes: up to `maxDigits`, and no further than a `#` that ends the input. A menu that does not
/// say how many takes one key when it has options, else all.
fn taken<'k>(menu: &Menu, keys: &'k str) -> &'k str {
    let longest_option = menu.options.iter().map(|option| option.dtmf.len()).max();
    let max = menu.max_digits.map(|max| max as usize).or(longest_option).unwrap_or(keys.len());
    let keys = keys.get(..max.min(keys.len())).unwrap_or(keys);
    match keys.find('#') {
        Some(end) => &keys[..=end],
        None => keys,
    }
}

/// What the keys lead to; `None` when to nothing. Without options, or with more than one digit to collect, keys that
/// are no option are a sequence.
fn outcome<'a>(menu: &'a Menu, keys: &str) -> Option<Left<'a>> {
    let digits = keys.trim_end_matches('#');
    let option = menu.options.iter().find(|option| option.dtmf == keys || option.dtmf == digits);
    if let Some(option) = option {
        return Some(match option.target()? {
            MenuTarget::Menu(id) => Left::For(id),
            MenuTarget::Return(value) => Left::Result(result(&menu.id, MenuResultKind::Return, value)),
        });
    }
    let collects = menu.options.is_empty() || menu.max_digits.is_some_and(|max| max > 1);
    (collects && !digits.is_empty()).then(|| Left::Result(result(&menu.id, MenuResultKind::Sequence, digits)))
}

/// The caller hears the prompt out.
fn hear(prompts: &str, line: &mut Timeline<'_>) -> Result<(), Ending> {
    for part in prompt::parts(prompts) {
        line.hear(part)?;
    }
    Ok(())
}

/// A caller who knows what to press waits for the prompt's end only where keys do not cut it short.
fn listen(prompts: &str, barge: bool, line: &mut Timeline<'_>) -> Result<(), Ending> {
    if !barge {
        return hear(prompts, line);
    }
    for part in prompt::parts(prompts) {
        line.note(What::Heard { text: part.text });
    }
    Ok(())
}

fn result(menu_id: &str, kind: MenuResultKind, value: &str) -> MenuResult {
    MenuResult { menu_id: menu_id.to_owned(), kind, value: value.to_owned() }
}
