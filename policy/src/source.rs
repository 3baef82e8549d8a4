//! Where in the text of policies something is.

use cedar_policy::ffi::DetailedError;

/// What Cedar says is wrong with `text`, in one line: the place of each thing by line and column, counted in characters from 1,
/// and what would be right where Cedar knows.
pub(crate) fn located(text: &str, error: &DetailedError) -> String {
    let place = error.source_locations.first().map(|label| place(text, label.loc.start));
    let help = error.help.as_ref().map(|help| format!(" ({help})"));
    let own = format!("{}{}{}", place.unwrap_or_default(), error.message, help.unwrap_or_default());
    let own = own.split_whitespace().collect::<Vec<_>>().join(" ");
    let related = error.related.iter().map(|related| located(text, related));
    core::iter::once(own).chain(related).collect::<Vec<_>>().join("; ")
}

fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    format!("line {line}, column {column}: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "ab\ncä\u{1f600}d\n";
        let places =
            [(0, "1, column 1"), (1, "1, column 2"), (3, "2, column 1"), (10, "2, column 4"), (11, "2, column 5")];
        for (at, want) in places {
            assert_eq!(place(text, at), format!("line {want}: "), "{at}");
        }
        assert_eq!(place(text, 99), "line 3, column 1: ");
    }
}
