// The servers that people run, as `servers` puts them behind the gateway, each with what is asked of it.

import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The smallest PNG that is one. */
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const LARGE = `${"a line of a large file\n".repeat(20_000)}`;

const call = (name, given = {}, more = {}) => ({
  method: "tools/call",
  params: { name, arguments: given },
  ...more,
});
const prompt = (name, given) => ({ method: "prompts/get", params: { name, ...(given && { arguments: given }) } });
const read = (uri, more = {}) => ({ method: "resources/read", params: { uri }, ...more });
const complete = (ref, name, value, given) => ({
  method: "completion/complete",
  params: { ref, argument: { name, value }, ...(given && { context: { arguments: given } }) },
});
const LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"].map((method) => ({
  method,
  params: {},
}));
/** Calls that fail: `own` ones may be refused by the gateway, in its words. */
const UNKNOWN = call("no_such_tool", {}, { own: true });

const TEXT = (id) => `demo://resource/dynamic/text/${id}`;
const DOCUMENT = (name) => `demo://resource/static/document/${name}.md`;
const MANY = Object.fromEntries(Array.from({ length: 4 }, (_, number) => [`extra${number}`, number]));

const EVERYTHING = [
  ...LISTS,
  call("echo", { message: "Grüezi, \u{1f600} \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645" }),
  call("get-sum", { a: 2.5, b: 40 }),
  call("get-sum", { a: "2", b: 40 }, { own: true }),
  call("echo", {}, { own: true }),
  call("echo", { message: "x", ...MANY }, { own: true, strict: true }),
  call("get-tiny-image"),
  ...["success", "error", "debug"].map((messageType) =>
    call("get-annotated-message", { messageType, includeImage: true }),
  ),
  call("get-annotated-message", { messageType: "none of them" }, { own: true }),
  call("get-structured-content", { location: "Chicago" }),
  call("get-resource-links", { count: 4 }),
  call("get-resource-reference", { resourceType: "Text", resourceId: 3 }),
  call("get-resource-reference", { resourceType: "Blob", resourceId: 4 }),
  call("get-resource-reference", { resourceType: "Text", resourceId: -1 }),
  call("gzip-file-as-resource", {
    name: "a.gz",
    data: "data:text/plain;base64,SGVsbG8=",
    outputType: "resource",
  }),
  call("trigger-long-running-operation", { duration: 0.3, steps: 3 }, { progress: true }),
  UNKNOWN,
  prompt("simple-prompt"),
  prompt("args-prompt", { city: "Bern" }),
  prompt("args-prompt", { city: "Bern", state: "BE" }),
  prompt("completable-prompt", { department: "Sales", name: "Eve" }),
  prompt("resource-prompt", { resourceType: "Text", resourceId: "2" }),
  { ...prompt("resource-prompt", { resourceType: "Text", resourceId: "none" }), own: true },
  { ...prompt("args-prompt", {}), own: true },
  { ...prompt("no-such-prompt"), own: true },
  ...["features", "architecture", "structure"].map((name) => read(DOCUMENT(name))),
  read(TEXT(7)),
  read("demo://resource/dynamic/blob/7"),
  read(TEXT("x"), { own: true }),
  read("demo://nothing", { own: true }),
  complete({ type: "ref/prompt", name: "completable-prompt" }, "department", "S"),
  complete({ type: "ref/prompt", name: "completable-prompt" }, "name", "", { department: "Marketing" }),
  complete({ type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" }, "resourceId", "12"),
];

const TIME = [
  ...LISTS,
  call("get_current_time", { timezone: "Europe/Zurich" }),
  call("get_current_time", { timezone: "Europe/Nowhere" }),
  call("get_current_time", {}, { own: true }),
  call("convert_time", { source_timezone: "UTC", time: "16:30", target_timezone: "Asia/Kathmandu" }),
  call("convert_time", { source_timezone: "UTC", time: "25:61", target_timezone: "Asia/Tokyo" }),
  UNKNOWN,
];

const files = (root) => {
  const at = (name) => join(root, name);
  return [
    ...LISTS,
    call("list_allowed_directories"),
    call("read_text_file", { path: at("notes.txt") }),
    call("read_text_file", { path: at("notes.txt"), head: 1 }),
    call("read_text_file", { path: at("notes.txt"), head: 1, tail: 1 }),
    call("read_file", { path: at("large.txt") }),
    call("read_media_file", { path: at("dot.png") }),
    call("read_multiple_files", { paths: [at("notes.txt"), at("nothing.txt")] }),
    call("read_text_file", { path: "/etc/passwd" }),
    call("read_text_file", { path: `${root}/../outside.txt` }),
    call("read_text_file", { path: at("nothing.txt") }),
    call("write_file", { path: at("new.txt"), content: "eins\nzwei\n\u{1f600}" }),
    call("edit_file", {
      path: at("new.txt"),
      edits: [{ oldText: "zwei", newText: "drei" }],
      dryRun: true,
    }),
    call("edit_file", { path: at("new.txt"), edits: [{ oldText: "zwei", newText: "drei" }] }),
    call("read_text_file", { path: at("new.txt") }),
    call("create_directory", { path: at("a/b/c") }),
    call("move_file", { source: at("new.txt"), destination: at("a/b/c/moved.txt") }),
    call("list_directory", { path: root }),
    call("list_directory_with_sizes", { path: root, sortBy: "size" }),
    call("directory_tree", { path: root }),
    call("search_files", { path: root, pattern: "**/*.txt" }),
    call("get_file_info", { path: at("a/b/c/moved.txt") }),
    call("write_file", { path: at("new.txt") }, { own: true }),
    UNKNOWN,
  ];
};

const git = (repo_path) => {
  const own = (name, given = {}, more) => call(name, { repo_path, ...given }, more);
  return [
    ...LISTS,
    own("git_status"),
    own("git_log", { max_count: 5 }),
    own("git_show", { revision: "HEAD" }),
    own("git_diff_unstaged"),
    own("git_diff_unstaged", { context_lines: 0 }),
    own("git_add", { files: ["readme.md"] }),
    own("git_diff_staged"),
    own("git_commit", { message: "Say more\n\n\u{1f600}" }),
    own("git_log", { max_count: 1 }),
    own("git_diff", { target: "HEAD~1" }),
    own("git_create_branch", { branch_name: "other" }),
    own("git_checkout", { branch_name: "other" }),
    own("git_branch", { branch_type: "local" }),
    own("git_reset"),
    own("git_diff", { target: "--output=/tmp/evil" }),
    own("git_checkout", { branch_name: "nothing" }),
    call("git_status", { repo_path: "/" }),
    own("git_add", { files: [] }, { own: true }),
    own("git_log", { max_count: "many" }, { own: true }),
    UNKNOWN,
  ];
};

function fresh(directory) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
}

/** The directory as it is before the first call, in the same place. */
function makeFiles(root) {
  mkdirSync(root, { recursive: true });
  for (const name of ["a", "new.txt"]) rmSync(join(root, name), { recursive: true, force: true });
  writeFileSync(join(root, "notes.txt"), "first line\nsecond line\nthird line\n");
  writeFileSync(join(root, "large.txt"), LARGE);
  writeFileSync(join(root, "dot.png"), Buffer.from(PNG, "base64"));
  writeFileSync(join(root, "../outside.txt"), "not yours");
}

function makeRepository(root) {
  fresh(root);
  const date = "2026-01-02T03:04:05Z";
  const env = { ...process.env, GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
  const run = (...given) => execFileSync("git", given, { cwd: root, env, stdio: "ignore" });
  run("init", "--initial-branch=main");
  run("config", "user.name", "Ada");
  run("config", "user.email", "ada@example.org");
  writeFileSync(join(root, "readme.md"), "# Readme\n");
  run("add", ".");
  run("commit", "-m", "Begin");
  writeFileSync(join(root, "readme.md"), "# Readme\n\nMore.\n");
}

/**
 * The servers, by the name that the gateway knows them by. `command` starts one on standard input and output, `http` a program
 * that says its port; `steps` are the requests, `make` what has to be there before them. What is another one each time is in
 * `replace`.
 */
export function servers({ packages, clients, python, place }) {
  const node = process.execPath;
  const everything = join(packages, "@modelcontextprotocol/server-everything/dist/index.js");
  const filesystem = join(packages, "@modelcontextprotocol/server-filesystem/dist/index.js");
  const own = join(clients, "python-http.py");
  const [desk, archive, repository] = ["desk", "archive", "repository"].map((name) => join(place, name));
  const clock = [[/\d{1,2}:\d{2}:\d{2} [AP]M/g, "<clock>"]];
  const blob = [[/"blob":"UmVzb3VyY2[\w+/=]*"/g, '"blob":"<blob>"']];
  const demo = [...clock, ...blob];
  const local = [[/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?[+-]\d{2}:\d{2}/g, "<local time>"]];
  const stat = [[/(created|modified|accessed): [^\\"]*/g, "$1: <time>"]];
  const commits = [
    [/\b[0-9a-f]{40}\b/g, "<commit>"],
    [/\b[0-9a-f]{7}\.\.[0-9a-f]{7}\b/g, "<blobs>"],
    [/Date: [^\\"]*/g, "Date: <date>"],
  ];
  return {
    everything: { command: [node, everything], steps: EVERYTHING, replace: demo, inspect: true },
    "everything-http": {
      http: [node, join(clients, "everything-http.mjs")],
      steps: EVERYTHING,
      replace: demo,
      inspect: true,
    },
    desk: { command: [node, filesystem, desk], steps: files(desk), make: () => makeFiles(desk), replace: stat },
    archive: {
      command: [node, filesystem, archive],
      steps: files(archive),
      make: () => makeFiles(archive),
      replace: stat,
    },
    time: {
      command: [python, "-m", "mcp_server_time", "--local-timezone", "Europe/Zurich"],
      steps: TIME,
      replace: local,
    },
    "time-http": { http: [python, own, "time"], steps: TIME, replace: local, inspect: true },
    git: {
      command: [python, "-m", "mcp_server_git", "--repository", repository],
      steps: git(repository),
      make: () => makeRepository(repository),
      replace: commits,
    },
    "git-http": {
      http: [python, own, "git", repository],
      steps: git(repository),
      make: () => makeRepository(repository),
      replace: commits,
    },
  };
}
