//! Holds the house to its plan: who may import whom, and where each dangerous crate lives. The plan and its reasons
//! are in `docs/architecture.md`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use syn::visit::Visit;

/// Modules by layer, from the ground up. A module imports from lower rows, and from its own where the row allows it.
const LAYERS: &[(&[&str], bool)] = &[
    (
        &[
            "blocking",
            "clock",
            "heavy",
            "json",
            "regular",
            "secret",
            "small_set",
            "stack",
            "suggest",
            "telemetry",
            "text",
        ],
        true,
    ),
    (&["model", "db", "events", "mcp", "shared_state"], true),
    (&["policy", "authn", "audit", "screen", "limit", "secrets"], false),
    (&["authz"], false),
    (
        &[
            "memory",
            "tools",
            "messages",
            "agents",
            "attributes",
            "credentials",
            "decision_log",
            "sandbox",
            "siem",
            "changes",
        ],
        true,
    ),
    (&["runtime"], false),
    (&["api"], false),
    (&["config"], false),
    (&["workbench"], false),
    (&["server"], false),
    (&["cli"], false),
    (&["fuzzing"], false),
];

/// Crates with a home: nobody else names them.
const HOMES: &[(&str, &[&str])] = &[
    ("cedar_policy", &["policy/", "workbench/"]),
    ("cedar_policy_core", &["policy/", "workbench/"]),
    ("cedar_policy_symcc", &["workbench/prove/", "workbench/mutate/"]),
    ("cedar_policy_formatter", &["workbench/format.rs"]),
    ("wasmtime", &["sandbox/"]),
    ("wasmtime_wasi", &["sandbox/"]),
    (
        "rusqlite",
        &[
            "db.rs",
            "db/",
            "memory/store",
            "authn/key_store/local.rs",
            "authn/tokens/store.rs",
            "authn/error.rs",
            "attributes/store.rs",
            "audit/index/store.rs",
            "tools/connections/store.rs",
        ],
    ),
    ("axum", &["api/", "server/"]),
    ("hyper", &["server/"]),
    ("hyper_util", &["server/"]),
    ("utoipa", &["api/"]),
    ("clap", &["cli/"]),
    ("prometheus_client", &["telemetry/"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("rcgen", &["authn/mtls/local_ca.rs"]),
    ("x509_parser", &["authn/mtls/", "server/tls/files.rs", "server/tls/ocsp/"]),
    ("x509_ocsp", &["server/tls/ocsp/"]),
    ("webpki", &["authn/mtls/verifier.rs"]),
    ("thread_priority", &["heavy.rs"]),
    ("jsonwebtoken", &["authn/jwt"]),
    ("oauth2", &["authn/oauth2/"]),
    ("opentelemetry", &["siem/sink/otlp", "telemetry/"]),
    ("opentelemetry_http", &["siem/sink/otlp", "telemetry/"]),
    ("opentelemetry_otlp", &["siem/sink/otlp", "telemetry/"]),
    ("opentelemetry_proto", &["siem/sink/otlp", "telemetry/"]),
    ("opentelemetry_sdk", &["siem/sink/otlp", "telemetry/"]),
    ("vaultrs", &["secrets/"]),
    ("rustify", &["secrets/"]),
];

struct Source {
    /// Path under `src/`, with `/`.
    path: String,
    module: String,
    names: Names,
    authority: Authority,
    text: String,
}

/// What a file does with guards and permits.
#[derive(Default)]
struct Authority {
    /// A field, an argument or an answer has the type `Guard`.
    holds_a_guard: bool,
    /// Bindings that throw away what the guard answered: the permit is never spent.
    dropped: Vec<String>,
}

impl Authority {
    fn note_if_dropped(&mut self, pattern: &syn::Pat, what: &str) {
        let name = match pattern {
            syn::Pat::Wild(_) => Some("_".to_owned()),
            syn::Pat::Ident(binding) if binding.ident.to_string().starts_with('_') => {
                Some(binding.ident.to_string())
            }
            syn::Pat::TupleStruct(tuple) => {
                return tuple.elems.iter().for_each(|one| self.note_if_dropped(one, what));
            }
            _ => None,
        };
        self.dropped.extend(name.map(|name| format!("{name}: {what}")));
    }
}

/// Whether an expression asks the guard.
#[derive(Default)]
struct Asks(bool);

impl<'ast> Visit<'ast> for Asks {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0 |= call.method == "admit" || call.method == "admit_each";
        syn::visit::visit_expr_method_call(self, call);
    }
}

/// Whether a type is, or has in it, the type of this name.
fn names_type(ty: &syn::Type, name: &str) -> bool {
    struct Finder<'n>(&'n str, bool);
    impl<'ast> Visit<'ast> for Finder<'_> {
        fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
            self.1 |= path.path.segments.last().is_some_and(|last| last.ident == self.0);
            syn::visit::visit_type_path(self, path);
        }
    }
    let mut finder = Finder(name, false);
    finder.visit_type(ty);
    finder.1
}

impl<'ast> Visit<'ast> for Authority {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_type(&mut self, ty: &'ast syn::Type) {
        self.holds_a_guard |= names_type(ty, "Guard");
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            let mut asks = Asks::default();
            asks.visit_expr(&init.expr);
            if asks.0 {
                self.note_if_dropped(&local.pat, "an answer of the guard");
            }
        }
        syn::visit::visit_local(self, local);
    }

    fn visit_fn_arg(&mut self, argument: &'ast syn::FnArg) {
        if let syn::FnArg::Typed(typed) = argument
            && (names_type(&typed.ty, "Permit") || names_type(&typed.ty, "Admitted"))
        {
            self.note_if_dropped(&typed.pat, "an argument");
        }
        syn::visit::visit_fn_arg(self, argument);
    }
}

/// The first names of every path in a file: `crate::x` and `other_crate`.
#[derive(Default)]
struct Names {
    own: BTreeSet<String>,
    foreign: BTreeSet<String>,
}

impl Names {
    fn path<'a>(&mut self, mut parts: impl Iterator<Item = &'a syn::Ident>) {
        let Some(first) = parts.next() else { return };
        if first == "crate" {
            self.own.extend(parts.next().map(ToString::to_string));
        } else {
            self.foreign.insert(first.to_string());
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, parents: &mut Vec<syn::Ident>) {
        match tree {
            syn::UseTree::Path(path) => {
                parents.push(path.ident.clone());
                self.tree(&path.tree, parents);
                parents.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, parents)),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                parents.push(ident.clone());
                self.path(parents.iter());
                parents.pop();
            }
            syn::UseTree::Glob(_) => self.path(parents.iter()),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.path(path.segments.iter().map(|segment| &segment.ident));
        }
        syn::visit::visit_path(self, path);
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file, read once in a process.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files.sort();
    let sources: Vec<_> = files
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
            let mut names = Names::default();
            names.visit_file(&syntax);
            let mut authority = Authority::default();
            authority.visit_file(&syntax);
            let module = path.split(['/', '.']).next().unwrap().to_owned();
            Source { path, module, names, authority, text }
        })
        .filter(|source| !source.path.ends_with("tests.rs") && !source.path.contains("/tests/"))
        .collect();
    assert!(sources.len() > 80, "only {} files were found", sources.len());
    sources
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(modules, _)| modules.contains(&module))
}

#[test]
fn modules_import_from_lower_rows_only() {
    let mut broken = Vec::new();
    for source in sources() {
        if matches!(source.module.as_str(), "lib" | "main") {
            continue;
        }
        let own = layer(&source.module).unwrap_or_else(|| panic!("`{}` stands in no layer", source.path));
        for name in &source.names.own {
            let Some(other) = layer(name) else { continue };
            let sideways = other == own && *name != source.module && !LAYERS[own].1;
            if other > own || sideways {
                broken.push(format!("{} imports `{name}`", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "imports against the plan:\n{}", broken.join("\n"));
}

#[test]
fn the_plan_names_every_module() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let planned: BTreeSet<_> = LAYERS.iter().flat_map(|(modules, _)| modules.iter().copied()).collect();
    assert_eq!(declared, planned);
}

/// The page that people read says what the tests hold.
#[test]
fn the_page_names_every_module_and_every_home() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).unwrap();
    let modules = LAYERS.iter().flat_map(|(modules, _)| modules.iter());
    let crates = HOMES.iter().map(|(name, _)| name);
    let missing: Vec<_> = modules.chain(crates).filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/architecture.md: {missing:?}");
}

#[test]
fn dangerous_crates_stay_in_their_homes() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, homes) in HOMES {
            if source.names.foreign.contains(*name) && !homes.iter().any(|home| source.path.starts_with(home))
            {
                broken.push(format!("{} names `{name}`", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "crates away from home:\n{}", broken.join("\n"));
}

/// Files that read JSON otherwise than through `json/`, and why that is safe. This list only shrinks.
const JSON_READERS: &[(&str, &str)] = &[
    ("json/", "the strict reader itself"),
    ("fuzzing.rs", "compares the strict reader with another"),
    ("audit/follow.rs", "the number of a line that the journal wrote, however deep the line is"),
    ("audit/keeper.rs", "the time of a line that the journal wrote"),
    ("audit/line.rs", "two fields of a line whose hash was checked before"),
    ("attributes/store.rs", "our own column, from a database that only we write"),
    ("authn/key_store/local.rs", "our own column, from a database that only we write"),
    ("authn/tokens/holder.rs", "our own column, from a database that only we write"),
    ("memory/store.rs", "our own column, from a database that only we write"),
    ("mcp/message.rs", "the id alone of a message that the strict reader has refused"),
    ("policy/version/key.rs", "a private key, of which the strict reader would leave copies in memory"),
];

/// Bytes from outside are read once, by the reader that refuses a key twice and nesting without end.
#[test]
fn json_is_read_by_one_reader() {
    let reads =
        ["serde_json::from_slice", "serde_json::from_str", "serde_json::from_reader", "Deserializer::from_"];
    let mut broken = Vec::new();
    for source in sources() {
        let known = JSON_READERS.iter().any(|(file, _)| source.path.starts_with(file));
        if !known && reads.iter().any(|read| source.text.contains(read)) {
            broken.push(source.path.clone());
        }
    }
    assert!(broken.is_empty(), "JSON is read past `json/`:\n{}", broken.join("\n"));
}

/// `serde_json`'s features `raw_value` and `arbitrary_precision` turn keys of its own into documents and numbers, past every
/// check. Any dependency could turn them on for the whole program.
#[test]
fn no_key_means_more_to_serde_json_than_it_says() {
    for text in [
        r#"{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
    ] {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(value.to_string(), text);
    }
}

/// Work off the async threads goes through one wrapper, and what computes long through another.
#[test]
fn work_off_the_async_threads_has_one_door() {
    for source in sources() {
        let allowed = matches!(source.path.as_str(), "blocking.rs" | "heavy.rs");
        assert!(allowed || !source.text.contains("spawn_blocking"), "{} calls `spawn_blocking`", source.path);
    }
}

/// Security events are variants of one enum, not strings at the places where they happen.
#[test]
fn security_events_have_one_list() {
    for source in sources() {
        let lines =
            source.text.matches("\"SECURITY\"").count() + source.text.matches("record.event = Some(").count();
        let allowed = matches!(source.path.as_str(), "events.rs" | "audit/record.rs");
        assert!(lines == 0 || allowed, "{} makes a security event of its own", source.path);
    }
}

/// Which characters are hidden is one table.
#[test]
fn hidden_characters_have_one_table() {
    for source in sources() {
        let tables = source.text.matches("..='\\u{202e}'").count();
        assert!(tables == 0 || source.path == "text.rs", "{} has a table of its own", source.path);
    }
}

/// Effect owners take permits and never hold a guard.
#[test]
fn only_the_faces_of_the_gateway_hold_a_guard() {
    let holders: BTreeSet<_> = sources()
        .iter()
        .filter(|source| source.authority.holds_a_guard && source.names.own.contains("authz"))
        .filter(|source| !source.path.starts_with("authz/"))
        .map(|source| source.module.clone())
        .collect();
    let allowed = BTreeSet::from(["runtime", "api", "server"].map(str::to_owned));
    assert!(holders.is_subset(&allowed), "{holders:?}");
}

/// A permit that is asked for is spent by the owner of what it is for: where it is bound to `_` or to a name that begins
/// with one, something is read or done beside it.
#[test]
fn no_permit_is_dropped() {
    let dropped = sources()
        .iter()
        .flat_map(|source| source.authority.dropped.iter().map(|what| format!("{}: {what}", source.path)));
    let dropped: Vec<String> = dropped.collect();
    assert!(dropped.is_empty(), "permits that nobody spends:\n{}", dropped.join("\n"));
}

/// Names that several public types may have, and why. This list only shrinks.
const SHARED_NAMES: &[(&str, &str)] = &[
    ("Settings", "each module owns its own; used with the name of the module"),
    ("Message", "one of a conversation, and one of MCP: the word of each protocol, used with its module"),
    ("Command", "the subcommands of one group of the command line, matched in the file that declares them"),
];

/// Names of the public types of a file, tests apart.
#[derive(Default)]
struct PublicTypes(Vec<String>);

impl PublicTypes {
    fn note(&mut self, visibility: &syn::Visibility, name: &syn::Ident) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.0.push(name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for PublicTypes {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Mod(module) if is_test(&module.attrs) => return,
            syn::Item::Struct(item) => self.note(&item.vis, &item.ident),
            syn::Item::Enum(item) => self.note(&item.vis, &item.ident),
            syn::Item::Union(item) => self.note(&item.vis, &item.ident),
            syn::Item::Trait(item) => self.note(&item.vis, &item.ident),
            syn::Item::Type(item) => self.note(&item.vis, &item.ident),
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }
}

/// A name says which type it is: a reader who finds it in another file need not ask which of several is meant.
#[test]
fn two_public_types_do_not_have_one_name() {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in sources() {
        let mut types = PublicTypes::default();
        types.visit_file(&syn::parse_file(&source.text).unwrap());
        for name in types.0 {
            places.entry(name).or_default().push(&source.path);
        }
    }
    places.retain(|_, places| places.len() > 1);
    let allowed = |name: &str| SHARED_NAMES.iter().any(|(shared, _)| *shared == name);
    let twice: Vec<_> = places.iter().filter(|(name, _)| !allowed(name)).collect();
    assert!(twice.is_empty(), "several public types of one name: {twice:#?}");
    let unused: Vec<_> = SHARED_NAMES.iter().filter(|(name, _)| !places.contains_key(*name)).collect();
    assert!(unused.is_empty(), "listed, and no longer shared: {unused:?}");
}

/// A permit is minted in one place, and the constructor for tests is in no build that can run.
#[test]
fn permits_are_minted_in_one_place() {
    for source in sources() {
        let mints = source.text.matches("Permit::mint").count();
        let allowed = matches!(source.path.as_str(), "authz/guard.rs" | "authz/list.rs" | "authz/permit.rs");
        assert!(mints == 0 || allowed, "{} mints a permit", source.path);
    }
    let permit = sources().iter().find(|source| source.path == "authz/permit.rs").unwrap();
    assert_eq!(permit.text.matches("fn for_test").count(), 1);
    assert!(permit.text.contains("#[cfg(test)]\n    pub(crate) fn for_test"));
}

/// What decides is replaced in one place, where the change was judged and recorded first.
#[test]
fn the_live_set_is_replaced_in_one_place() {
    for source in sources() {
        let installs = source.text.matches("policy.install(").count();
        assert_eq!(installs, usize::from(source.path == "changes/reload/agents.rs") * 2, "{}", source.path);
    }
}

/// Lines of the trusted core, tests apart: in all, and in one file. Who raises them writes an ADR (0007).
const CORE_LINES: usize = 2_000;
const CORE_FILE_LINES: usize = 300;

/// The part that must be right stays small enough to be read in one sitting.
#[test]
fn the_trusted_core_stays_small() {
    let mut all = 0;
    for source in sources().iter().filter(|source| source.path.starts_with("authz/")) {
        let code = source.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(lines <= CORE_FILE_LINES, "{} has {lines} lines", source.path);
        all += lines;
    }
    assert!(all <= CORE_LINES, "authz has {all} lines");
}
