//! The JSON Schema Test Suite, from `tests/json-schema`: a schema is refused, or all its cases hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tinderbox_protocol::{Constraint, Error};

use super::{Guide, accepts, guides, schema};

/// Valid instances that cannot be written, and why: file, schema, cases.
const KNOWN: &[(&str, &str, &str, &[&str])] = &[
    (
        "leap seconds are not written",
        "draft2020-12/format/date-time",
        "validation of date-time strings",
        &[
            "a valid date-time with a leap second, UTC",
            "a valid date-time with a leap second, with minus offset",
        ],
    ),
    (
        "leap seconds are not written",
        "draft2020-12/format/time",
        "validation of time strings",
        &[
            "a valid time string with leap second, Zulu",
            "valid leap second, large negative time-offset",
            "valid leap second, large positive time-offset",
            "valid leap second, negative time-offset",
            "valid leap second, positive time-offset",
            "valid leap second, zero time-offset",
        ],
    ),
    (
        "quotes around a name and addresses in version 6 are not written",
        "draft2020-12/format/email",
        "validation of e-mail addresses",
        &[
            "a quoted string with a @ in the local part is valid",
            "a quoted string with a double dot in the local part is valid",
            "a quoted string with a space in the local part is valid",
            "an IPv6-address-literal after the @ is valid",
        ],
    ),
    (
        "the last groups are not written in the form of version 4",
        "draft2020-12/format/ipv6",
        "validation of IPv6 addresses",
        &[
            "a long valid ipv6",
            "mixed format with double colons between the sections",
            "mixed format with leading double colons (ipv4-mapped ipv6 address)",
            "mixed format with the ipv4 section as decimal octets",
        ],
    ),
    (
        "the vocabularies of a schema's schema are not read",
        "draft2020-12/vocabulary",
        "schema that uses custom metaschema with with no validation vocabulary",
        &["no validation: invalid number, but it still validates"],
    ),
    (
        "what stands beside a reference holds in every draft",
        "draft7/ref",
        "ref overrides any sibling keywords",
        &["ref valid, maxItems ignored"],
    ),
];

/// Formats are kept, where this file takes them for annotations.
const ANNOTATIONS: (&str, &str) = (
    "draft2020-12/format",
    "string is only an annotation by default",
);

/// What came of a file, in both drafts.
#[derive(Default)]
struct Tally {
    followed: usize,
    refused: usize,
    cases: usize,
    unwritten: usize,
}

#[test]
fn every_schema_is_refused_or_all_its_cases_hold() {
    let guides = guides();
    let mut tallies = BTreeMap::<String, Tally>::new();
    let mut unwritten = BTreeSet::new();
    for (file, group) in groups() {
        let (draft, name) = file.split_once('/').unwrap();
        let tally = tallies.entry(name.into()).or_default();
        let guide = match guides.guide(&constraint(draft, &group)) {
            Ok(guide) => guide,
            Err(Error::Constraint { place, reason }) => {
                assert!(place.is_empty() || place.starts_with('/'), "{place}");
                assert!(!reason.is_empty(), "{group}");
                tally.refused += 1;
                continue;
            }
            Err(other) => panic!("{group}: {other}"),
        };
        tally.followed += 1;
        for case in list(&group["tests"]) {
            tally.cases += 1;
            match (written(&guide, &case["data"]), case["valid"] == true) {
                (Some(_), true) | (None, false) => {}
                (Some(text), false) => panic!("{file}: {}: {text}", group["schema"]),
                (None, true) => {
                    let described = [&group, case].map(|of| &of["description"]);
                    let [schema, case] = described.map(|text| text.as_str().unwrap().to_owned());
                    unwritten.insert((file.clone(), schema, case));
                    tally.unwritten += 1;
                }
            }
        }
    }
    unwritten.retain(|(file, _, case)| file != ANNOTATIONS.0 || !case.ends_with(ANNOTATIONS.1));
    assert_eq!(unwritten, known());
    let (docs, report) = (read("docs/constraints.md"), report(&tallies));
    let docs = String::from_utf8(docs).unwrap();
    assert!(
        docs.contains(&report),
        "docs/constraints.md lacks\n{report}"
    );
}

fn constraint(draft: &str, group: &Value) -> Constraint {
    let mut of = group["schema"].clone();
    if draft == "draft7" && of.is_object() {
        of["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    }
    schema(of)
}

fn known() -> BTreeSet<(String, String, String)> {
    let each = KNOWN.iter().flat_map(|(_, file, schema, cases)| {
        let of = |case: &&str| [file, schema, *case].map(str::to_owned).into();
        cases.iter().map(of)
    });
    each.collect()
}

/// What docs/constraints.md says.
fn report(tallies: &BTreeMap<String, Tally>) -> String {
    let [mut whole, mut part, mut none] = [String::new(), String::new(), String::new()];
    let mut sum = Tally::default();
    for (name, tally) in tallies {
        let Tally {
            followed,
            refused,
            cases,
            unwritten,
        } = *tally;
        match (followed, refused + unwritten) {
            (_, 0) => whole += &format!("{name} ({followed}, {cases}), "),
            (0, _) => none += &format!("{name} ({refused}), "),
            _ => part += &format!("| {name} | {followed} | {refused} | {cases} | {unwritten} |\n"),
        }
        sum.followed += followed;
        sum.refused += refused;
        sum.cases += cases;
        sum.unwritten += unwritten;
    }
    let [whole, none] = [whole, none].map(|list| list.trim_end_matches(", ").to_owned());
    format!(
        "{} schemas are followed and {} refused. Of the {} cases of those that are followed, every invalid instance is\n\
         kept out, and {} valid ones cannot be written.\n\n\
         Followed as a whole, with schemas and cases: {whole}.\n\n\
         Refused as a whole, with schemas: {none}.\n\n\
         | in part | followed | refused | cases | not written |\n| --- | --- | --- | --- | --- |\n{part}",
        sum.followed, sum.refused, sum.cases, sum.unwritten,
    )
}

/// The schemas with their cases, and the file of each.
fn groups() -> Vec<(String, Value)> {
    let root = root().join("tests/json-schema");
    let folders = ["draft2020-12", "draft2020-12/format", "draft7"].map(|name| root.join(name));
    let entries = folders.iter().flat_map(|folder| folder.read_dir().unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let groups = files.flat_map(|path| {
        let name = path.strip_prefix(&root).unwrap().with_extension("");
        let groups: Value = serde_json::from_slice(&read(&path)).unwrap();
        let groups = list(&groups).clone().into_iter();
        groups.map(move |group| (name.to_str().unwrap().to_owned(), group))
    });
    groups.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// A value in a spelling that is accepted.
fn written(guide: &Guide, value: &Value) -> Option<String> {
    let mut all = spellings(value).into_iter();
    all.find(|text| accepts(guide, text))
}

/// The ways to write a value: properties in every order, whole numbers also without a fraction.
fn spellings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            let items = sequences(items.iter().map(spellings).collect());
            items.map(|items| format!("[{items}]")).collect()
        }
        Value::Object(map) => {
            let property = |(name, value): (&String, &Value)| {
                let name = Value::from(name.as_str());
                let values = spellings(value).into_iter();
                values.map(|value| format!("{name}:{value}")).collect()
            };
            let all = orders(map.iter().map(property).collect());
            let all = all.into_iter().flat_map(sequences);
            all.map(|all| format!("{{{all}}}")).collect()
        }
        Value::Number(number) => {
            let mut all = vec![number.to_string()];
            all.extend(all[0].strip_suffix(".0").map(str::to_owned));
            all
        }
        other => vec![other.to_string()],
    }
}

/// One spelling of each part, with commas between.
fn sequences(parts: Vec<Vec<String>>) -> impl Iterator<Item = String> {
    let all = parts.into_iter().reduce(|heads, tails| {
        let tails = &tails;
        let join = |head| tails.iter().map(move |tail| format!("{head},{tail}"));
        heads.into_iter().flat_map(join).collect()
    });
    all.unwrap_or_else(|| vec![String::new()]).into_iter()
}

fn orders<T: Clone>(all: Vec<T>) -> Vec<Vec<T>> {
    assert!(all.len() < 8, "{} things have too many orders", all.len());
    if all.len() < 2 {
        return vec![all];
    }
    let begin = |first: usize| {
        let mut rest = all.clone();
        let first = rest.remove(first);
        let orders = orders(rest).into_iter();
        orders.map(move |rest| [vec![first.clone()], rest].concat())
    };
    (0..all.len()).flat_map(begin).collect()
}
