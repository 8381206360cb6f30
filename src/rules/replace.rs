//! Other rules in the place of those that are there, without a gap: as one transaction, for the process that owns the
//! table.

use super::nft::{self, TABLE};

/// What replaces every rule of the table by those of `text`, as one transaction; sets keep what is in them. An
/// empty chain, the second of `signs` in the place of the first, shows that it is done.
pub(super) fn transaction(text: &str, [old, new]: &[String; 2]) -> String {
    let text = nft::one_line(text);
    // Who deletes it need not know whether it is there: a table that was lost came back without it.
    format!(
        "flush table inet {TABLE}; {text}; add chain inet {TABLE} {old}; delete chain inet {TABLE} {old}; \
         add chain inet {TABLE} {new}"
    )
}

/// A table to be checked while the one of its name is owned.
pub(super) fn under_another_name(table: &str) -> String {
    let name = format!("table inet {TABLE} {{");
    table.replacen(&name, &format!("table inet {TABLE}_check {{"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_goes_and_comes_in_one_line_and_no_set_goes() {
        let table = "table inet unmangle {\n\tset s {\n\t}\n\tchain c {\n\t\taccept\n\t}\n}\n";
        let signs = ["settings_1", "settings_2"].map(str::to_owned);
        let line = transaction(table, &signs);
        assert!(!line.contains('\n'));
        assert!(
            line.starts_with("flush table inet unmangle; table inet unmangle { set s {"),
            "{line}"
        );
        assert!(
            line.ends_with("; add chain inet unmangle settings_2"),
            "{line}"
        );
        assert!(!line.contains("delete table") && !line.contains("flush set"));
    }

    #[test]
    fn what_is_checked_is_not_the_table_that_is_owned() {
        let text = under_another_name("table inet unmangle {\n\tjump unmangle\n}\n");
        assert_eq!(text, "table inet unmangle_check {\n\tjump unmangle\n}\n");
    }
}
