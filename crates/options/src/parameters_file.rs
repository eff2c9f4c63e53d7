//! The parameters file: options in a text file, one in a line, stronger than the command line.

use crate::command_line::{Filter, filter_action, parse_filter_list, parse_option};
use crate::error::{Error, Result};

/// The content of a parameters file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ParametersFile {
    /// Options without filters and special keys, in the order of the file.
    pub options: Vec<(String, Option<String>)>,
    /// `--source`: further sources, for `backup` and `test-filters`.
    pub sources: Vec<String>,
    /// `--target`: the storage URL to use instead of the one on the command line. May hold credentials.
    pub target: Option<String>,
    /// `--include` and `--exclude` in the order of the file.
    pub filters: Vec<Filter>,
    /// `--prepend-filter`: goes before the other filters.
    pub prepend: Vec<Filter>,
    /// `--append-filter`: goes behind the other filters.
    pub append: Vec<Filter>,
    /// `--replace-filter`: stands instead of all other filters.
    pub replace: Option<Vec<Filter>>,
}

impl std::fmt::Debug for ParametersFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.options.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ParametersFile")
            .field("options", &names)
            .finish_non_exhaustive()
    }
}

impl ParametersFile {
    /// Joins the filters of the command line with those of the file.
    ///
    /// # Errors
    /// [`Error::FiltersTwice`] when both have filters of their own.
    pub fn join_filters(&self, command_line: Vec<Filter>) -> Result<Vec<Filter>> {
        if let Some(replace) = &self.replace {
            return Ok(replace.clone());
        }
        if !command_line.is_empty() && !self.filters.is_empty() {
            return Err(Error::FiltersTwice);
        }
        Ok([&self.prepend, &command_line, &self.filters, &self.append]
            .into_iter()
            .flatten()
            .cloned()
            .collect())
    }
}

/// Reads the text of a parameters file.
///
/// Blanks around lines do not matter, a byte order mark neither. Lines that do not start with `--` are comments.
///
/// # Errors
/// [`Error::Malformed`] for a filter list of the wrong form, [`Error::NoValue`] for a special key without value.
pub fn parse(text: &str) -> Result<ParametersFile> {
    let mut file = ParametersFile::default();
    let lines = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .split(['\n', '\r']);
    for (name, value) in lines.filter_map(|line| parse_option(line.trim())) {
        let needed = |value: Option<String>| {
            value.ok_or(Error::NoValue {
                option: name.clone(),
            })
        };
        match name.as_str() {
            "source" => file.sources.push(needed(value)?),
            "target" => file.target = Some(needed(value)?),
            "prepend-filter" => file.prepend = parse_filter_list(&needed(value)?)?,
            "append-filter" => file.append = parse_filter_list(&needed(value)?)?,
            "replace-filter" => file.replace = Some(parse_filter_list(&needed(value)?)?),
            "main-action" => return Err(Error::Reserved { option: name }),
            _ => match filter_action(&name) {
                Some(action) => file.filters.push((action, needed(value)?)),
                None => file.options.push((name, value)),
            },
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::FilterAction::{Exclude, Include};

    #[test]
    fn a_file_with_everything() {
        let text = "\u{feff}# a comment\r\n  --dblock-size=\"10mb\"  \r\rno option\n--No-Encryption\n\
                    --source=/a b\n--source=/c\n--target=s3://x\n--exclude=*.tmp";
        let file = parse(text).expect("valid");
        assert_eq!(
            file.options,
            [
                ("dblock-size".to_owned(), Some("10mb".to_owned())),
                ("no-encryption".to_owned(), None)
            ]
        );
        assert_eq!(file.sources, ["/a b", "/c"]);
        assert_eq!(file.target.as_deref(), Some("s3://x"));
        assert_eq!(file.filters, [(Exclude, "*.tmp".to_owned())]);
        assert!(!format!("{file:?}").contains("s3"));
    }

    #[cfg(unix)]
    #[test]
    fn filters_are_joined() {
        let own = vec![(Include, "own".to_owned())];
        let texts = |list: Vec<Filter>| list.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let file = parse("--prepend-filter=+a:-b\n--append-filter=-z").expect("valid");
        assert_eq!(
            file.join_filters(own.clone()).map(texts),
            Ok(["a", "b", "own", "z"].map(str::to_owned).to_vec())
        );
        let file = parse("--replace-filter=+a\n--include=x").expect("valid");
        assert_eq!(
            file.join_filters(own.clone()).map(texts),
            Ok(vec!["a".to_owned()])
        );
        let file = parse("--include=x").expect("valid");
        assert_eq!(file.join_filters(own), Err(Error::FiltersTwice));
        assert_eq!(
            file.join_filters(vec![]).map(texts),
            Ok(vec!["x".to_owned()])
        );
    }

    #[test]
    fn special_keys_need_a_value() {
        assert_eq!(
            parse("--source"),
            Err(Error::NoValue {
                option: "source".to_owned()
            })
        );
        assert!(parse("--append-filter=x").is_err());
    }
}
