//! Types as people write them for tools and answers: what schemars makes of them. Prints a file of the corpus.
#![allow(dead_code)]
use schemars::{generate::SchemaSettings, JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Reads a file.
#[derive(Deserialize, Serialize, JsonSchema)]
struct ReadFile {
    /// The absolute path.
    path: PathBuf,
    /// The first line, from 1.
    #[serde(default = "one")]
    offset: u32,
    limit: Option<u64>,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApplyPatch {
    file_path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
enum Unit {
    Celsius,
    Fahrenheit,
}

/// The order in which results come.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Newest first.
    Newest,
    /// Most relevant first.
    Relevance,
    ByField(String),
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Weather {
    city: String,
    unit: Unit,
    days: Option<u8>,
    at: (f64, f64),
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Search {
    query: String,
    order: Option<Order>,
    tags: BTreeSet<String>,
    filters: HashMap<String, serde_json::Value>,
    #[schemars(range(min = 1, max = 100))]
    limit: Option<i32>,
}

/// Tagged from within.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Step {
    Command { run: String, env: BTreeMap<String, String> },
    Wait { seconds: f32 },
    Nothing,
}

/// Tagged beside.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
enum Event {
    Message(String),
    Point { x: i64, y: i64 },
    End,
}

/// Tagged from without.
#[derive(Deserialize, Serialize, JsonSchema)]
enum Shape {
    Circle { radius: f64 },
    Rectangle(f64, f64),
    Named(String),
    Empty,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
    Counted { count: usize, of: String },
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Plan {
    steps: Vec<Step>,
    events: Vec<Event>,
    shape: Shape,
    target: OneOrMany,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Tree {
    value: i32,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    children: Vec<Tree>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Account {
    #[schemars(length(min = 1, max = 40))]
    name: String,
    #[schemars(email)]
    email: String,
    #[schemars(url)]
    page: Option<String>,
    #[schemars(regex(pattern = r"^[a-z0-9_]{3,16}$"))]
    handle: String,
    #[schemars(length(max = 3))]
    roles: Vec<Role>,
    address: IpAddr,
    quota: Option<Duration>,
    #[serde(flatten)]
    extra: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
enum Role {
    Owner,
    ReadOnly,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Numbers {
    small: i8,
    byte: u8,
    word: u16,
    long: i64,
    size: usize,
    big: u128,
    ratio: f32,
    letter: char,
    non_zero: std::num::NonZeroU32,
    three: [u8; 3],
    result: Result<u32, String>,
    unit: (),
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Base {
    id: u64,
    created: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Document {
    #[serde(flatten)]
    base: Base,
    #[serde(flatten)]
    body: Step,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(rename = "$ref", default)]
    reference: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Meters(#[schemars(range(min = 0.0))] f64);

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(description = "A journey", example = example())]
struct Journey {
    distance: Meters,
    #[schemars(extend("examples" = ["by train"]))]
    means: String,
    #[deprecated]
    old: Option<bool>,
    via: Vec<Option<String>>,
}

fn example() -> Journey {
    #[allow(deprecated)]
    Journey { distance: Meters(1.0), means: "on foot".into(), old: None, via: vec![] }
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Nothing {}

fn each<T: JsonSchema>(lines: &mut Vec<String>, name: &str, kind: &str, settings: &[(&str, SchemaSettings)]) {
    let mut seen: Vec<Schema> = vec![];
    for (setting, settings) in settings {
        let schema = settings.clone().into_generator().into_root_schema_for::<T>();
        let mut bare = schema.clone();
        bare.remove("$schema");
        if seen.contains(&bare) {
            continue;
        }
        seen.push(bare);
        let line = serde_json::json!({
            "name": format!("{name}, {setting}"), "kind": kind, "strict": false, "schema": schema
        });
        lines.push(line.to_string());
    }
}

fn main() {
    let settings = [
        ("2020-12", SchemaSettings::draft2020_12()),
        ("for serializing", SchemaSettings::draft2020_12().for_serialize()),
        ("draft-07", SchemaSettings::draft07()),
        ("OpenAPI 3", SchemaSettings::openapi3()),
    ];
    let mut lines = vec![];
    macro_rules! all {
        ($kind:literal, $($type:ty),*) => { $(each::<$type>(&mut lines, stringify!($type), $kind, &settings);)* };
    }
    all!("tool", ReadFile, ApplyPatch, Weather, Search, Nothing);
    all!("output", Plan, Shape, OneOrMany, Tree, Account, Numbers, Document, Journey, Vec<Event>, HashMap<String, Role>);
    print!("{{\n\"generator\": \"schemars\",\n\"version\": \"1.2.0\",\n\"schemas\": [\n{}\n]\n}}\n", lines.join(",\n"));
}
