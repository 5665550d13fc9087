//! Hostile guests, written by hand: each must end alone, with its own error, and leave the sandbox working.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// Far beyond what anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The text of a module with memory, the usual imports and `body` as its `_start`.
fn guest(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\02\00\00\00")
            (data (i32.const 16) "{{}}")
            (global $calls (mut i32) (i32.const 0))
            (func $deep (call $deep) (drop (i32.load (i32.const 0))))
            (func (export "_start") {body}))"#
    )
}

/// Writes `{}`, which stands at 16, through the buffer list at 0.
const WRITE: &str = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";

fn settings() -> Settings {
    Settings {
        max_memory_bytes: 4 * 65_536,
        fuel: 50_000_000,
        max_output_bytes: 4096,
        max_instances: 2,
        max_execution_time: PATIENCE,
        max_queue_wait: PATIENCE,
        ..Settings::default()
    }
}

fn caller() -> EntityUid {
    EntityUid::caxton("Service", "one")
}

fn sandbox(settings: Settings) -> Sandbox {
    Sandbox::new(settings, Arc::new(Metrics::new())).unwrap()
}

fn compile(sandbox: &Sandbox, text: &str) -> Result<Module, SandboxError> {
    sandbox.compile("guest", &wat::parse_str(text).unwrap())
}

/// Runs the hostile `body`, then a harmless guest in the same sandbox; the hostile one's error.
async fn broken_by(settings: Settings, body: &str) -> SandboxError {
    let sandbox = sandbox(settings);
    let hostile = compile(&sandbox, &guest(body)).unwrap();
    let harmless = compile(&sandbox, &guest(WRITE)).unwrap();
    // More often than there are instances: none may be lost.
    for _ in 0..2 {
        assert!(sandbox.run(&caller(), &hostile, Vec::new()).await.is_err());
    }
    let error = sandbox.run(&caller(), &hostile, Vec::new()).await.unwrap_err();
    let began = std::time::Instant::now();
    let answer = loop {
        match sandbox.run(&caller(), &harmless, Vec::new()).await {
            // Where time is what is tested, a busy machine may need more of it for the harmless one as well.
            Err(SandboxError::Deadline { .. }) if began.elapsed() < PATIENCE => {}
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(answer.output, serde_json::json!({}));
    assert_eq!(sandbox.inner.metrics.wasm_instances.get(), 0);
    error
}

#[tokio::test]
async fn a_harmless_guest_answers() {
    let sandbox = sandbox(settings());
    let module = compile(&sandbox, &guest(WRITE)).unwrap();
    let completed = sandbox.run(&caller(), &module, b"{}".to_vec()).await.unwrap();
    assert_eq!(completed.output, serde_json::json!({}));
    assert!(completed.fuel > 0);
    assert_eq!(sandbox.inner.metrics.wasm_fuel.get(), completed.fuel);
    assert_eq!(module.name(), "guest");
    assert_eq!(module.sha256().len(), 64);
}

#[tokio::test]
async fn nothing_of_one_call_is_left_for_the_next() {
    let sandbox = sandbox(Settings { max_instances: 1, ..settings() });
    // Answers with the byte it finds, then leaves another one behind, in memory and in a global.
    let body = "(if (global.get $calls) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 1000)) (i32.const 0)) (then unreachable))
        (global.set $calls (i32.const 1)) (i32.store8 (i32.const 1000) (i32.const 65))";
    let module = compile(&sandbox, &guest(&format!("{body} {WRITE}"))).unwrap();
    for _ in 0..3 {
        assert_eq!(sandbox.run(&caller(), &module, Vec::new()).await.unwrap().output, serde_json::json!({}));
    }
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    let error = broken_by(settings(), "(loop $again (br $again))").await;
    assert!(matches!(error, SandboxError::OutOfFuel { fuel: 50_000_000, .. }), "{error}");
    assert_eq!(error.client_text(), "the tool took too long");
}

#[tokio::test]
async fn an_endless_loop_meets_its_deadline() {
    let settings = Settings { fuel: u64::MAX, max_execution_time: Duration::from_millis(20), ..settings() };
    let error = broken_by(settings, "(loop $again (br $again))").await;
    assert!(matches!(error, SandboxError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn an_endless_start_function_runs_out_of_fuel() {
    let sandbox = sandbox(settings());
    let text = r#"(module (func $spin (loop $again (br $again))) (start $spin) (func (export "_start")))"#;
    let module = compile(&sandbox, text).unwrap();
    let error = sandbox.run(&caller(), &module, Vec::new()).await.unwrap_err();
    assert!(matches!(error, SandboxError::OutOfFuel { .. }), "{error}");
}

#[tokio::test]
async fn memory_cannot_grow_past_its_limit() {
    assert_eq!(growth(3).await.unwrap().output, serde_json::json!({}));
    let error = growth(4).await.unwrap_err();
    let SandboxError::MemoryGrowth { wanted, limit, .. } = error else { panic!("{error}") };
    assert_eq!((wanted, limit), (5 * 65_536, 4 * 65_536));

    let error = broken_by(settings(), "(loop $again (drop (memory.grow (i32.const 1))) (br $again))").await;
    assert!(matches!(error, SandboxError::MemoryGrowth { .. }), "{error}");
}

async fn growth(pages: u32) -> Result<Completed, SandboxError> {
    let sandbox = sandbox(settings());
    let body = format!("(drop (memory.grow (i32.const {pages}))) {WRITE}");
    sandbox.run(&caller(), &compile(&sandbox, &guest(&body)).unwrap(), Vec::new()).await
}

#[tokio::test]
async fn endless_recursion_uses_up_only_the_guests_stack() {
    let error = broken_by(settings(), "(call $deep)").await;
    assert!(matches!(error, SandboxError::StackOverflow { .. }), "{error}");
    let error = broken_by(Settings { max_wasm_stack: STACK_CEILING, ..settings() }, "(call $deep)").await;
    assert!(matches!(error, SandboxError::StackOverflow { .. }), "{error}");
}

#[tokio::test]
async fn an_output_flood_ends_the_guest() {
    let error = broken_by(settings(), &format!("(loop $again {WRITE} (br $again))")).await;
    assert!(matches!(error, SandboxError::OutputTooLarge { limit: 4096, .. }), "{error}");
}

#[tokio::test]
async fn a_huge_write_ends_the_guest() {
    let body = "(i32.store (i32.const 4) (i32.const 60000))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let error = broken_by(settings(), body).await;
    assert!(matches!(error, SandboxError::OutputTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_flood_on_standard_error_is_swallowed() {
    let flood = "(loop $again (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (br_if $again (i32.lt_u (global.get $calls) (i32.const 100000))))";
    let error = broken_by(settings(), &format!("{flood} (call $exit (i32.const 3))")).await;
    let SandboxError::Exited { code, message, .. } = error else { panic!("{error}") };
    assert_eq!((code, message), (3, "{}".repeat(512)));
}

#[tokio::test]
async fn an_exit_code_is_the_tools_own_error() {
    let sandbox = sandbox(settings());
    let message = r"bad \1b[2Jinput\0aWARN forged";
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\1a\00\00\00")
            (data (i32.const 16) "{message}      ")
            (func (export "_start")
                (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $exit (i32.const 3))))"#
    );
    let error = sandbox.run(&caller(), &compile(&sandbox, &text).unwrap(), Vec::new()).await.unwrap_err();
    assert!(error.is_tool_error());
    assert_eq!(error.client_text(), "bad [2Jinput WARN forged");
    assert_eq!(error.to_string(), "`guest` exited with code 3: bad [2Jinput WARN forged");
}

#[tokio::test]
async fn leaving_with_zero_is_fine() {
    let sandbox = sandbox(settings());
    let module =
        compile(&sandbox, &guest(&format!("{WRITE} (call $exit (i32.const 0)) unreachable"))).unwrap();
    assert_eq!(sandbox.run(&caller(), &module, Vec::new()).await.unwrap().output, serde_json::json!({}));
}

#[tokio::test]
async fn traps_are_named() {
    let cases = [
        ("unreachable", "wasm `unreachable` instruction executed"),
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
        ("(drop (i32.div_u (i32.const 1) (i32.load (i32.const 1000))))", "integer divide by zero"),
    ];
    for (body, expected) in cases {
        let error = broken_by(settings(), body).await;
        let SandboxError::Trapped { detail, .. } = &error else { panic!("{error}") };
        assert_eq!(detail, expected);
        assert!(!error.is_tool_error());
    }
}

#[tokio::test]
async fn an_answer_must_be_one_json_document() {
    for body in
        ["", &format!("{WRITE} {WRITE}"), &format!("(i32.store8 (i32.const 17) (i32.const 255)) {WRITE}")]
    {
        let error = broken_by(settings(), body).await;
        assert!(matches!(error, SandboxError::OutputNotJson { .. }), "{body}: {error}");
    }
}

#[tokio::test]
async fn host_calls_refuse_wild_pointers() {
    // Each call must give the errno in the last column, not touch the host, and let the guest go on.
    let cases = [
        ("(call $write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 8))", 21),
        ("(call $write (i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 8))", 21),
        ("(call $write (i32.const 1) (i32.const 0) (i32.const 1025) (i32.const 8))", 28),
        ("(call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8))", 28),
        ("(call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 65533))", 21),
        ("(call $write (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))", 8),
        ("(call $write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 8))", 8),
        ("(call $read (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))", 8),
        ("(call $read (i32.const 0) (i32.const -1) (i32.const 1) (i32.const 8))", 21),
        ("(call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const -1))", 21),
    ];
    let mut body = String::new();
    for (call, errno) in cases {
        write!(body, "(if (i32.ne {call} (i32.const {errno})) (then unreachable))").unwrap();
    }
    let sandbox = sandbox(settings());
    // The failed writes to standard error and reads changed neither the output nor the place of the text.
    let module = compile(&sandbox, &guest(&format!("{body} {WRITE}"))).unwrap();
    assert_eq!(sandbox.run(&caller(), &module, Vec::new()).await.unwrap().output, serde_json::json!({}));
}

#[test]
fn a_forbidden_import_is_named() {
    let sandbox = sandbox(settings());
    let cases = [
        ("wasi_snapshot_preview1", "path_open"),
        ("wasi_snapshot_preview1", "sock_send"),
        ("wasi_snapshot_preview1", "fd_readdir"),
        ("env", "fd_write"),
    ];
    for (module, name) in cases {
        let text = format!(r#"(module (import "{module}" "{name}" (func)) (func (export "_start")))"#);
        let error = compile(&sandbox, &text).unwrap_err();
        let SandboxError::ForbiddenImport { import, .. } = &error else { panic!("{error}") };
        assert_eq!(*import, format!("{module}::{name}"));
        assert_eq!(error.client_text(), "the tool is not available");
    }
}

#[test]
fn a_call_taken_off_the_list_is_forbidden() {
    let mut settings = settings();
    settings.allowed_wasi_calls.remove("fd_read");
    let error = compile(&sandbox(settings), &guest(WRITE)).unwrap_err();
    assert!(matches!(error, SandboxError::ForbiddenImport { .. }), "{error}");
}

#[test]
fn modules_that_cannot_run_are_refused_before_they_do() {
    let sandbox = sandbox(settings());
    let refused = |text: &str| compile(&sandbox, text).unwrap_err();

    let error = sandbox.compile("guest", b"not wasm at all").unwrap_err();
    assert!(matches!(error, SandboxError::NotWasm { .. }), "{error}");
    let error = refused("(component)");
    assert!(matches!(error, SandboxError::NotWasm { .. }), "{error}");
    for text in [
        "(module)",
        r#"(module (func (export "_start") (param i32)))"#,
        r#"(module (memory (export "_start") 1))"#,
    ] {
        let error = refused(text);
        assert!(matches!(error, SandboxError::NoStart { .. }), "{text}: {error}");
    }
    let error = refused(r#"(module (memory 5) (func (export "_start")))"#);
    assert!(matches!(error, SandboxError::MemoryTooLarge { needed: 327_680, .. }), "{error}");
    for text in [
        r#"(module (memory 1) (memory 1) (func (export "_start")))"#,
        r#"(module (memory i64 1) (func (export "_start")))"#,
        r#"(module (memory 1 1 shared) (func (export "_start")))"#,
        r#"(module (table 30000 funcref) (func (export "_start")))"#,
        r#"(module (import "wasi_snapshot_preview1" "fd_read" (func)) (func (export "_start")))"#,
    ] {
        let error = refused(text);
        assert!(matches!(error, SandboxError::Unfit { .. }), "{text}: {error}");
    }
    let mut cut = wat::parse_str(guest(WRITE)).unwrap();
    cut.truncate(cut.len() - 3);
    assert!(matches!(sandbox.compile("guest", &cut), Err(SandboxError::NotWasm { .. })));
}

#[test]
fn a_large_module_is_refused() {
    let error = compile(&sandbox(Settings { max_module_bytes: 8, ..settings() }), &guest(WRITE)).unwrap_err();
    assert!(matches!(error, SandboxError::ModuleTooLarge { limit: 8, .. }), "{error}");
}

#[tokio::test]
async fn a_large_input_is_refused() {
    let sandbox = sandbox(Settings { max_input_bytes: 4, ..settings() });
    let module = compile(&sandbox, &guest(WRITE)).unwrap();
    assert!(sandbox.run(&caller(), &module, vec![b' '; 4]).await.is_ok());
    let error = sandbox.run(&caller(), &module, vec![b' '; 5]).await.unwrap_err();
    assert!(matches!(error, SandboxError::InputTooLarge { size: 5, limit: 4, .. }), "{error}");
}

#[tokio::test]
async fn a_call_waits_for_an_instance_only_so_long() {
    let sandbox =
        sandbox(Settings { max_instances: 1, max_queue_wait: Duration::from_millis(1), ..settings() });
    let module = compile(&sandbox, &guest(WRITE)).unwrap();
    let taken = sandbox.place(&EntityUid::caxton("Service", "other"), &module, PATIENCE).await.unwrap();
    let error = sandbox.run(&caller(), &module, Vec::new()).await.unwrap_err();
    assert!(matches!(error, SandboxError::Busy { .. }), "{error}");
    drop(taken);
    assert!(sandbox.run(&caller(), &module, Vec::new()).await.is_ok());
}

#[tokio::test]
async fn more_calls_than_instances_all_get_their_turn() {
    let sandbox = sandbox(settings());
    let module = compile(&sandbox, &guest(WRITE)).unwrap();
    let callers: Vec<_> = (0..50).map(|number| EntityUid::caxton("Service", number.to_string())).collect();
    let calls = callers.iter().map(|caller| sandbox.run(caller, &module, Vec::new()));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_caller_that_hangs_up_keeps_its_turn_until_its_guest_ends() {
    let execution = Duration::from_millis(300);
    let sandbox = sandbox(Settings { max_execution_time: execution, fuel: u64::MAX, ..settings() });
    let endless = compile(&sandbox, &guest("(loop (br 0))")).unwrap();
    let harmless = compile(&sandbox, &guest(WRITE)).unwrap();
    let (busy, other) = (caller(), EntityUid::caxton("Service", "other"));
    for _ in 0..guests_at_once() {
        let mut call = Box::pin(sandbox.run(&busy, &endless, Vec::new()));
        assert!(futures::poll!(call.as_mut()).is_pending());
        // It hangs up.
        drop(call);
    }
    let next = sandbox.inner.turns.turn(busy.clone());
    assert!(futures::poll!(std::pin::pin!(next)).is_pending(), "the guests still compute");
    if guests_at_once() < 2 {
        sandbox.run(&other, &harmless, Vec::new()).await.unwrap();
    }
    // When they have ended, its turn comes.
    sandbox.run(&busy, &harmless, Vec::new()).await.unwrap();
}

#[test]
fn settings_that_cannot_be_kept_are_refused() {
    let cases = [
        ("max_instances", Settings { max_instances: 0, ..settings() }),
        ("max_wasm_stack", Settings { max_wasm_stack: STACK_CEILING + 1, ..settings() }),
        ("max_memory_bytes", Settings { max_memory_bytes: 0, ..settings() }),
        (
            "allowed_wasi_calls",
            Settings { allowed_wasi_calls: ["path_open".to_owned()].into(), ..settings() },
        ),
    ];
    for (expected, settings) in cases {
        match Sandbox::new(settings, Arc::new(Metrics::new())) {
            Err(SandboxError::Setting { setting, .. }) => assert_eq!(setting, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_module_of_another_sandbox_does_not_run() {
    let (one, other) = (sandbox(settings()), sandbox(settings()));
    let module = compile(&one, &guest(WRITE)).unwrap();
    let error = other.run(&caller(), &module, Vec::new()).await.unwrap_err();
    assert!(matches!(error, SandboxError::Internal { .. }), "{error}");
}

/// The guests that come with the gateway, each compiled once for all tests.
fn builtin_modules() -> &'static (Sandbox, Vec<Module>) {
    static MODULES: LazyLock<(Sandbox, Vec<Module>)> = LazyLock::new(|| {
        let sandbox = sandbox(Settings { max_instances: 4, ..Settings::default() });
        let mut modules: Vec<Module> = builtin_tools()
            .map(|tool| sandbox.compile_builtin(tool.name, tool.wasm, tool.fuel).unwrap())
            .into();
        modules.push(sandbox.compile("echo_agent", builtin_handler("echo_agent").unwrap()).unwrap());
        (sandbox, modules)
    });
    &MODULES
}

async fn builtin(name: &str, input: Value) -> Result<Value, SandboxError> {
    let (sandbox, modules) = builtin_modules();
    let module = modules.iter().find(|module| module.name() == name).unwrap();
    let completed = sandbox.run(&caller(), module, input.to_string().into_bytes()).await?;
    Ok(completed.output)
}

#[tokio::test]
async fn the_csv_parser_parses() {
    let answer = builtin("csv_parser", json!({"text": "a,b\n1,=2\n3,4\n", "max_rows": 1})).await.unwrap();
    let expected = json!({"columns": ["a", "b"], "rows": [["1", "'=2"]], "row_count": 1, "truncated": true});
    assert_eq!(answer, expected);
    for input in
        [json!({"text": 1}), json!({"text": "a", "max_rows": 0}), json!({"text": "a", "more": 1}), json!([])]
    {
        let error = builtin("csv_parser", input).await.unwrap_err();
        assert!(error.is_tool_error(), "{error}");
        assert!(!error.client_text().is_empty());
    }
}

#[tokio::test]
async fn the_json_validator_validates() {
    let ask = |document: &str, schema: &str| {
        builtin("json_validator", json!({"document": document, "schema": schema}))
    };
    let schema = r#"{"type": "object", "properties": {"n": {"minimum": 1}}, "required": ["n"]}"#;
    assert_eq!(ask(r#"{"n": 1}"#, schema).await.unwrap(), json!({"valid": true, "errors": []}));
    let answer = ask(r#"{"n": 0}"#, schema).await.unwrap();
    assert_eq!((&answer["valid"], &answer["errors"][0]["path"]), (&json!(false), &json!("/n")));

    // The deepest document and a schema without end: the guest's stack must hold.
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(ask(&deep, r##"{"items": {"$ref": "#"}}"##).await.unwrap()["valid"], json!(true));
    let error = ask("1", r##"{"$ref": "#"}"##).await.unwrap_err();
    assert_eq!(error.client_text(), "the schema refers to itself too deeply");
}

#[tokio::test]
async fn the_desk_clerk_asks_for_a_tool() {
    let offer = json!([{"type": "function", "function": {"name": "builtin___csv_parser", "parameters": {}}}]);
    let turn = json!({"model": "clerk", "messages": [{"role": "user", "content": "count rows: a\n1"}], "tools": offer});
    let answer = builtin("echo_agent", turn).await.unwrap();
    assert_eq!(answer["tool_calls"][0]["function"]["name"], "builtin___csv_parser");
    assert!(builtin_handler("nobody").is_none());
}

#[test]
fn definitions_name_their_tools_and_digests_hold() {
    for tool in builtin_tools() {
        let definition: Value = serde_json::from_str(tool.definition).unwrap();
        assert_eq!(definition["name"], tool.name);
        assert_eq!(definition["annotations"]["readOnlyHint"], true);
        assert_eq!(definition["inputSchema"]["additionalProperties"], false);
    }
    let sums = include_str!("guests/SHA256SUMS");
    assert_eq!(sums.lines().count(), builtin_modules().1.len());
    for module in &builtin_modules().1 {
        assert!(sums.contains(&format!("{}  {}.wasm", module.sha256(), module.name())), "{module:?}");
    }
}

#[test]
fn a_module_that_somebody_has_is_not_compiled_again() {
    let sandbox = sandbox(settings());
    let wasm = |body: &str| wat::parse_str(guest(body)).unwrap();
    let same = |one: &Module, other: &Module| std::ptr::eq(one.instance(), other.instance());
    let first = sandbox.compile("guest", &wasm(WRITE)).unwrap();
    assert!(same(&first, &sandbox.compile("guest", &wasm(WRITE)).unwrap()));
    let named = sandbox.compile("other", &wasm(WRITE)).unwrap();
    let changed = sandbox.compile("guest", &wasm(&format!("{WRITE} nop"))).unwrap();
    assert!(!same(&first, &named) && named.name() == "other");
    assert!(!same(&first, &changed) && first.sha256() != changed.sha256());
    // A module that is not in use is not kept.
    drop((first, named, changed));
    let last = sandbox.compile("guest", &wasm(WRITE)).unwrap();
    assert_eq!(sandbox.inner.compiled.lock().len(), 1);
    drop(last);
}

/// A module with more than a compiler should be asked to take in is refused by its bytes alone.
#[test]
fn too_much_of_anything_is_refused_before_it_is_compiled() {
    let sandbox = sandbox(settings());
    let start = r#"(func (export "_start"))"#;
    let cases = [
        (format!("(module {} {start})", "(func)".repeat(50_001)), "50002 functions, 50000 are allowed"),
        (
            format!("(module {start} (func (local {})))", "i32 ".repeat(10_001)),
            "10001 locals, 10000 are allowed",
        ),
        (
            format!("(module {start} (func {}))", "(block)".repeat(50_001)),
            "50001 blocks, branches and calls, 50000 are allowed",
        ),
        (
            format!("(module {start} (func {}))", "(drop (i32.const 1))".repeat(200_000)),
            "bytes, 524288 are allowed",
        ),
        (
            format!("(module (type (func (param {}))) {start})", "i32 ".repeat(257)),
            "more than 256 parameters or results",
        ),
        (format!("(module {} {start})", "(global i32 (i32.const 1))".repeat(50_001)), "50001 globals"),
    ];
    for (text, expected) in cases {
        match compile(&sandbox, &text) {
            Err(SandboxError::Compile { detail, .. }) => assert!(detail.contains(expected), "{detail}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

/// A bound of its own ends a guest of ours early; the operator's lower one holds as well.
#[tokio::test]
async fn a_builtin_guest_has_the_lower_of_two_bounds_on_instructions() {
    let endless = wat::parse_str(guest("(loop $again (br $again))")).unwrap();
    let sandbox = sandbox(settings());
    for (own, expected) in [(10_000, 10_000), (u64::MAX, 50_000_000)] {
        let module = sandbox.compile_builtin("endless", &endless, own).unwrap();
        match sandbox.run(&caller(), &module, Vec::new()).await {
            Err(SandboxError::OutOfFuel { fuel, .. }) => assert_eq!(fuel, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// What a guest answers is read as strictly as what a caller sends.
#[tokio::test]
async fn an_answer_with_a_key_twice_or_too_deep_is_none() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for text in [r#"{"a":1,"a":2}"#, deep.as_str()] {
        let length = text.len();
        let data = text.replace('"', "\\22");
        let body = format!("(i32.store (i32.const 4) (i32.const {length})) {WRITE}");
        let module = guest(&body).replace("\"{}\"", &format!("\"{data}\""));
        let sandbox = sandbox(settings());
        let module = compile(&sandbox, &module).unwrap();
        let error = sandbox.run(&caller(), &module, Vec::new()).await.unwrap_err();
        assert!(matches!(error, SandboxError::OutputNotJson { .. }), "{text}: {error}");
    }
}

/// The largest inputs that make sense stay within a third of the bound; schemas that double at each step do not.
#[tokio::test]
async fn the_builtin_bounds_fit_the_tools() {
    let (sandbox, modules) = builtin_modules();
    let find = |name: &str| modules.iter().find(|module| module.name() == name).unwrap();
    let fuel = async |name: &str, input: Value| {
        let done = sandbox.run(&caller(), find(name), input.to_string().into_bytes()).await;
        done.unwrap_or_else(|error| panic!("{error}")).fuel
    };
    let rows = format!("name,price\n{}", "tea,12\n".repeat(60_000));
    let csv = fuel("csv_parser", json!({ "text": rows })).await;
    let list: Vec<Value> = (0..2_000).map(|n| json!({ "name": format!("n{n}"), "price": n })).collect();
    let schema = json!({ "type": "array", "items": { "type": "object", "required": ["name", "price"],
        "properties": { "name": { "type": "string" }, "price": { "type": "integer", "minimum": 0 } } } });
    let document = json!(list).to_string();
    let validator =
        fuel("json_validator", json!({ "document": document, "schema": schema.to_string() })).await;
    println!("csv_parser {csv}, json_validator {validator}");
    for tool in builtin_tools() {
        let taken = if tool.name == "csv_parser" { csv } else { validator };
        assert!(taken < tool.fuel / 3, "{}: {taken} of {}", tool.name, tool.fuel);
    }
    let mut definitions = serde_json::Map::new();
    for step in 0..20 {
        let next = json!({ "$ref": format!("#/$defs/d{}", step + 1) });
        definitions.insert(format!("d{step}"), json!({ "allOf": [next, next] }));
    }
    definitions.insert("d20".to_owned(), json!({ "type": "integer" }));
    let schema = json!({ "$ref": "#/$defs/d0", "$defs": definitions });
    let input = json!({ "document": "1", "schema": schema.to_string() });
    let error =
        sandbox.run(&caller(), find("json_validator"), input.to_string().into_bytes()).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, SandboxError::OutOfFuel { .. } | SandboxError::Exited { .. }), "{error}");
}
