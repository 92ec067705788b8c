//! The configuration as `--print-config` shows it, and mistakes in a file as an operator needs them: with file, line and key.

use crate::config::options::Options;
use clap::{Args, Command};

/// Keys that are not set, as comments that say what they are, and all others as they are.
///
/// # Errors
/// A path that is not UTF-8: TOML cannot name it.
pub fn with_comments(options: &Options) -> Result<String, String> {
    let table = options.to_table()?;
    let mut out = String::new();
    for option in Options::augment_args(Command::new("serve")).get_arguments() {
        let key = option.get_id().as_str();
        match table.get(key) {
            Some(value) => out += &format!("{key} = {value}\n"),
            None => {
                let help = option.get_help().map_or(String::new(), ToString::to_string);
                let value = option.get_value_names().and_then(|names| names.first()).map_or("", |name| name);
                // A name that stands for a number has no quotes.
                let value = if key == "node" { value.to_owned() } else { format!("\"{value}\"") };
                out += &format!("# {key} = {value}  # {}\n", help.replace('\n', " "));
            }
        }
    }
    Ok(out)
}

/// One line: line, key and what is wrong with it.
pub fn mistake(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text[..at].matches('\n').count() + 1;
    let message = error.message();
    if let Some(key) = unknown(message) {
        let hint = nearest(key).map_or(String::new(), |near| format!("; did you mean {near}?"));
        return format!("line {line}: unknown key {key}{hint} (sherwood serve --help lists the keys)");
    }
    let key = key_at(text, at).map_or(String::new(), |key| format!(", {key}"));
    format!("line {line}{key}: {} (sherwood serve --help lists the keys)", message.replace('\n', " "))
}

/// serde's words for a key that is not there.
fn unknown(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// The key whose value is at this place: that of the last line up to it that has one.
fn key_at(text: &str, at: usize) -> Option<&str> {
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let key = |line| {
        let (key, _) = str::split_once(line, '=')?;
        let key = key.trim();
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        (!key.is_empty() && key.chars().all(is_key)).then_some(key)
    };
    text[..end].lines().rev().find_map(key)
}

/// The key that is most like this one, if any is.
fn nearest(key: &str) -> Option<String> {
    const LIKE: f64 = 0.8;
    let command = Options::augment_args(Command::new("serve"));
    let keys = command.get_arguments().map(|option| option.get_id().as_str());
    let like = keys.map(|known| (strsim::jaro_winkler(key, known), known));
    let (share, known) = like.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (share >= LIKE).then(|| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_a_comment_that_says_what_it_is() {
        let printed = with_comments(&Options::default()).unwrap();
        for line in [
            "memory = \"1GiB\"\n",
            "allow = []\n",
            "# cpus = \"LIST\"  # CPUs for all threads",
            "# node = N  # NUMA node",
            "# hist_log = \"FILE\"  # Append the workers' histograms to this HdrHistogram log",
        ] {
            assert!(printed.contains(line), "{line:?} is not in\n{printed}");
        }
        assert_eq!(toml::from_str::<Options>(&printed).unwrap(), Options::default());
        // Every option is a line, set or not.
        let options = Options::augment_args(Command::new("serve")).get_arguments().count();
        assert_eq!(printed.lines().count(), options);
    }

    #[test]
    fn the_nearest_key_is_told_if_there_is_one() {
        for (key, want) in [
            ("memroy", Some("memory")),
            ("mean-item", Some("mean_item")),
            ("histlog", Some("hist_log")),
            ("value_maximum", Some("value_max")),
            ("colour", None),
        ] {
            assert_eq!(nearest(key).as_deref(), want, "{key}");
        }
    }
}
