//! `docs/passes.md` is generated from the tables of passes and rewrite rules. With `NNC_BLESS=1` in the environment this
//! test writes the page, otherwise it checks it.

use std::fmt::Write;
use std::path::Path;

use nnc_passes::pipeline::{OptLevel, PASSES, Step, pipeline};
use nnc_passes::simplify::rules;

fn page() -> String {
    let mut page = String::from(
        "# Passes\n\nGenerated from the tables in `passes/src/pipeline.rs` and `passes/src/simplify.rs`; \
         `NNC_BLESS=1 cargo test -p nnc-passes --test passes_page` writes it.\n\n\
         `nnc opt MODEL.ir --pass NAME,NAME` runs passes alone.\n\n| pass | what it does |\n|---|---|\n",
    );
    for pass in PASSES {
        let _ = writeln!(page, "| `{}` | {} |", pass.name, pass.doc);
    }
    page.push_str("\n## Order\n\n| level | passes |\n|---|---|\n");
    for level in 0..=3 {
        let _ = writeln!(page, "| `-O{level}` | {} |", order(OptLevel { level, fuse: true }));
    }
    page.push_str(
        "\nThe passes in parentheses run again until nothing changes (at most the given number of rounds). `--no-fuse` \
         leaves out `fuse`.\n",
    );
    page.push_str("\n## Rewrite rules of `simplify`\n\n| rule | what becomes what |\n|---|---|\n");
    for rule in rules() {
        let doc = rule.doc.replace('|', "\\|").replace("->", "→");
        let _ = writeln!(page, "| `{}` | {doc} |", rule.name);
    }
    page
}

fn order(opt: OptLevel) -> String {
    let step = |step: &Step| match step {
        Step::Once(pass) => pass.name.to_string(),
        Step::Repeat(passes, rounds) => {
            let names: Vec<&str> = passes.iter().map(|pass| pass.name).collect();
            format!("({}) × {rounds}", names.join(", "))
        }
    };
    pipeline(opt).iter().map(step).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_page_lists_every_pass_and_rule() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/passes.md");
    let expected = page();
    if std::env::var_os("NNC_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    pretty_assertions::assert_eq!(found, expected, "run with NNC_BLESS=1 to write docs/passes.md");
}
