//! The clients that are handed out, in Python and TypeScript, against real hosts: their types are checked by their languages' own
//! tools, and their tests run here. What is asked and expected stands in `clients/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use visavis_tests::host::{Host, Setup, repository, shared};
use visavis_tests::photos::assets;
use visavis_tests::stub;

/// What `cargo xtask setup --tests` has installed for the clients.
fn tools(name: &str) -> PathBuf {
    let folder = repository().join("target/visavis-tests").join(name);
    assert!(folder.join(".complete").is_file(), "{} is missing: run `cargo xtask setup --tests`", folder.display());
    folder
}

/// A host whose photographs say how long they take, with one worker and a queue of one task; and the key that it asks for.
fn slow() -> (Host, String) {
    let setup = Setup::new()
        .set("VISAVIS_AUTH__MODE", "keys")
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_COMPONENTS__ANALYZER__DEADLINE", "90s")
        .set("VISAVIS_WORKER__TASK_TIMEOUT", "100s")
        .set("VISAVIS_WORKER__CONCURRENCY", "1")
        .set("VISAVIS_QUEUE__MAX_LENGTH", "1");
    let key = setup.key(&["client"]);
    (setup.start(), key)
}

/// Runs the command in a folder, and shows what it said unless it succeeds. Yields its output.
fn succeed(command: &mut Command, folder: &Path) -> String {
    let output = command.current_dir(folder).output().expect("the program starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {told}\n{}", String::from_utf8_lossy(&output.stderr));
    told
}

/// Tells a test program where the hosts and the photographs are.
fn told<'c>(command: &'c mut Command, (slow, key): &(Host, String)) -> &'c mut Command {
    command
        .env("CLIENT_TEST_HOST", format!("http://{}", shared().address()))
        .env("CLIENT_TEST_SLOW", format!("http://{}", slow.address()))
        .env("CLIENT_TEST_KEY", key)
        .env("CLIENT_TEST_PHOTOS", assets().join("photos"))
}

/// Copies the files of a folder and of the folders in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder for temporary files can be written");
    for entry in fs::read_dir(from).expect("the sources are there").map(|entry| entry.expect("an entry")) {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &copied),
            false => _ = fs::copy(&path, &copied).expect("a folder for temporary files can be written"),
        }
    }
}

#[test]
fn the_client_in_python_holds_to_its_types_and_to_a_real_host() {
    let (tools, client) = (tools("clients-python"), repository().join("clients/python"));
    let python = |path: String| {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1").env_remove("MYPYPATH");
        command
    };
    // What it learns about the libraries is kept beside them for the next run.
    let cache = tools.join(".mypy_cache");
    let mut mypy = python(tools.display().to_string());
    succeed(mypy.args(["-m", "mypy", "--strict", "--cache-dir"]).arg(cache), &client);
    let slow = slow();
    let mut pytest = python(format!("{}:{}", tools.display(), client.join("src").display()));
    let said = succeed(told(pytest.args(["-m", "pytest", "--quiet"]), &slow), &client);
    assert!(said.contains(" passed") && !said.contains("skipped"), "{said}");
}

#[test]
fn the_client_in_typescript_holds_to_its_types_and_to_a_real_host() {
    let tools = tools("clients-typescript");
    let folder = TempDir::new().expect("a folder");
    copy(&repository().join("clients/typescript"), folder.path());
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.path().join("node_modules")).expect("a link");
    let compile = |project: &str| {
        succeed(Command::new("node").args(["node_modules/typescript/bin/tsc", "--project", project]), folder.path())
    };
    // Alone it is compiled without Node's types, so that it has nothing that browsers lack.
    compile("tsconfig.json");
    assert!(folder.path().join("dist/index.d.ts").is_file());
    compile("tests/tsconfig.json");
    let slow = slow();
    let mut node = Command::new("node");
    let said =
        succeed(told(node.args(["--test", "--test-reporter=tap", "built/tests/client.test.js"]), &slow), folder.path());
    assert!(said.contains("\n# fail 0") && said.contains("\n# skipped 0") && !said.contains("\n# pass 0"), "{said}");
}
