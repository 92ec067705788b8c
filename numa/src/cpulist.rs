//! Lists of CPUs as Linux writes them: `0-3,8,10-11`. The only place that reads or writes one.
//!
//! ```text
//! parse      the CPUs in the order written, repetitions included    `load --cpus`: thread n runs on the nth
//! CpuList    the set of them                                        `serve --cpus`, `topo --cpus`
//! list       ascending CPUs as text                                 reports and messages
//! ```

use std::fmt;
use std::str::FromStr;

/// CPUs a list may name; the kernel's own bound on x86-64 (CONFIG_NR_CPUS) is 8192.
pub const CPU_MAX: usize = 8191;

/// A list that is not empty, ascending, each CPU once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// The CPUs, ascending.
    pub fn cpus(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<CpuList, String> {
        let mut cpus = parse(text)?;
        cpus.sort_unstable();
        cpus.dedup();
        Ok(CpuList(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&list(&self.0))
    }
}

/// The CPUs that `text` names, in its order; never none. A CPU that is named twice is there twice.
///
/// # Errors
/// A part that is neither a number nor an ascending range, or a number above [`CPU_MAX`].
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, text)?, number(last, text)?);
        if first > last {
            return Err(format!("{part} in {text:?} runs backwards; write {last}-{first}"));
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// `0-3,8`: ascending CPU numbers as Linux writes them.
pub fn list(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [only] => only.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

fn number(digits: &str, text: &str) -> Result<usize, String> {
    let cpu = digits.trim().parse().ok().filter(|cpu| *cpu <= CPU_MAX);
    cpu.ok_or_else(|| {
        format!("{text:?} is not a list of CPUs; write one like 0,2-3 with numbers up to {CPU_MAX}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_as_a_sequence_and_as_a_set() {
        let cases: &[(&str, &[usize], &[usize])] = &[
            ("0", &[0], &[0]),
            ("0-3", &[0, 1, 2, 3], &[0, 1, 2, 3]),
            ("0,2-3", &[0, 2, 3], &[0, 2, 3]),
            ("8,0-1", &[8, 0, 1], &[0, 1, 8]),
            ("1,1,0-2", &[1, 1, 0, 1, 2], &[0, 1, 2]),
            (" 4 , 5 - 6", &[4, 5, 6], &[4, 5, 6]),
        ];
        for (text, sequence, set) in cases {
            assert_eq!(parse(text).unwrap(), *sequence, "{text}");
            assert_eq!(text.parse::<CpuList>().unwrap().cpus(), *set, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in ["", ",", "0-", "-1", "a", "0,,1", "3-1", "0-99999999999", "8192"] {
            assert!(parse(text).is_err() && text.parse::<CpuList>().is_err(), "{text}");
        }
    }

    #[test]
    fn runs_are_written_with_a_dash() {
        assert_eq!("2,8,0-1,9".parse::<CpuList>().unwrap().to_string(), "0-2,8-9");
        let cases: &[(&[usize], &str)] =
            &[(&[], ""), (&[4], "4"), (&[0, 1], "0-1"), (&[0, 1, 2, 8, 10, 11], "0-2,8,10-11")];
        for (cpus, text) in cases {
            assert_eq!(list(cpus), *text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(cpus in prop::collection::btree_set(0usize..500, 1..60)) {
            let list = CpuList(cpus.into_iter().collect());
            prop_assert_eq!(list.to_string().parse::<CpuList>(), Ok(list));
        }
    }
}
