//! Environment variables, tested in a separate process, since this process's cannot be changed safely.

use std::{
    env,
    process::{Command, Output},
};

use cloudflare_queues::{Client, Queue};
use tokio::runtime::Builder;

use support::{ACCOUNT, Op, QUEUE, Server};

const CHILD: &str = "WIRE_TEST_IS_A_CHILD";

/// Variables, and the expected output.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// Runs the test with this name again, with only these variables, the one that Windows needs for sockets, and the one
/// that says where a map of covered lines is kept.
fn run_again(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env_clear().env(CHILD, "1");
    command.envs(["SystemRoot", "LLVM_PROFILE_FILE"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.envs(variables.iter().copied()).output().unwrap()
}

fn call_as_the_environment_says() {
    let client = match Client::from_env() {
        Ok(client) => client,
        Err(error) => return println!("{:?}: {error}", error.kind()),
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Op::Pull.call(&client.queues(ACCOUNT).unwrap().queue(QUEUE).unwrap())).unwrap();
    println!("it was carried out");
}

#[test]
fn credentials_and_base_url_come_from_the_environment() {
    if env::var_os(CHILD).is_some() {
        return call_as_the_environment_says();
    }
    let server = Server::playing([support::bare_success()]);
    let base_url = ("CLOUDFLARE_BASE_URL", server.url.as_str());
    let (token, email, key) =
        (("CLOUDFLARE_API_TOKEN", "t0ken"), ("CLOUDFLARE_EMAIL", "me@example.com"), ("CLOUDFLARE_API_KEY", "k3y"));
    let table: [Row; 11] = [
        (&[("CLOUDFLARE_API_TOKEN", "t0ken ")], &["InvalidInput", "CLOUDFLARE_API_TOKEN: must be printable ASCII"]),
        (&[base_url, token], &["it was carried out"]),
        (&[base_url, email, key], &["it was carried out"]),
        (&[base_url, ("CLOUDFLARE_API_TOKEN", ""), email, key], &["it was carried out"]),
        (&[base_url, token, email, key], &["InvalidInput", "CLOUDFLARE_API_TOKEN and CLOUDFLARE_EMAIL are both set"]),
        (&[base_url, token, key], &["InvalidInput", "CLOUDFLARE_API_TOKEN and CLOUDFLARE_API_KEY are both set"]),
        (&[base_url, email], &["InvalidInput", "CLOUDFLARE_API_KEY is not"]),
        (&[base_url, key], &["InvalidInput", "CLOUDFLARE_EMAIL is not"]),
        (&[base_url], &["InvalidInput", "neither CLOUDFLARE_API_TOKEN nor CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY"]),
        (
            &[token, ("CLOUDFLARE_BASE_URL", "http://example.com")],
            &["InvalidInput", "CLOUDFLARE_BASE_URL: must be https"],
        ),
        (
            &[token, ("CLOUDFLARE_BASE_URL", "client/v4")],
            &["InvalidInput", "CLOUDFLARE_BASE_URL: must be an absolute URL"],
        ),
    ];
    for (variables, says) in table {
        let output = run_again("environment::credentials_and_base_url_come_from_the_environment", variables);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{variables:?}: {text}");
        assert!(says.iter().all(|words| text.contains(words)), "{variables:?}: {text}");
        assert!(!text.contains("t0ken") && !text.contains("k3y"), "{text}");
    }
    let requests = server.requests();
    let header = |nth: usize, name| requests[nth].headers.get(name).map(String::as_str);
    assert_eq!(requests.len(), 3);
    assert_eq!(header(0, "authorization"), Some("Bearer t0ken"));
    assert_eq!(header(0, "x-auth-key"), None);
    for nth in [1, 2] {
        assert_eq!((header(nth, "x-auth-email"), header(nth, "x-auth-key")), (Some("me@example.com"), Some("k3y")));
        assert_eq!(header(nth, "authorization"), None);
    }
}

#[test]
fn a_queue_comes_from_the_environment() {
    if env::var_os(CHILD).is_some() {
        return match Queue::from_env() {
            Ok(queue) => println!("it is {}", queue.id()),
            Err(error) => println!("{error}"),
        };
    }
    let [token, account] = [("CLOUDFLARE_API_TOKEN", "t0ken"), ("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)];
    let table: [Row; 4] = [
        (&[], &["neither CLOUDFLARE_API_TOKEN nor"]),
        (&[token], &["CLOUDFLARE_ACCOUNT_ID is not set"]),
        (&[token, account, ("CLOUDFLARE_QUEUE_ID", "")], &["CLOUDFLARE_QUEUE_ID is not set"]),
        (&[token, account, ("CLOUDFLARE_QUEUE_ID", QUEUE)], &["it is ", QUEUE]),
    ];
    for (variables, expected) in table {
        let output = run_again("environment::a_queue_comes_from_the_environment", variables);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(expected.iter().all(|words| stdout.contains(words)), "{variables:?}: {stdout}");
    }
}

#[test]
fn environment_proxies_do_not_apply_to_loopback() {
    if env::var_os(CHILD).is_some() {
        let url = env::var("CLOUDFLARE_BASE_URL").unwrap();
        let queue = support::open(support::builder(&url).allow_plain_http());
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(Op::Pull.call(&queue)).unwrap();
    }
    let [here, proxy] = [(); 2].map(|()| Server::playing([support::bare_success()]));
    for (url, expected) in [(&*here.url, [1, 0]), ("http://queues.invalid", [1, 1])] {
        let variables = [("CLOUDFLARE_BASE_URL", url), ("http_proxy", &proxy.url)];
        let output = run_again("environment::environment_proxies_do_not_apply_to_loopback", &variables);
        assert!(output.status.success(), "{output:?}");
        assert_eq!([&here, &proxy].map(|server| server.requests().len()), expected);
    }
}

#[test]
fn the_proxy_variables_are_those_of_other_programs() {
    const TEST: &str = "environment::the_proxy_variables_are_those_of_other_programs";
    if env::var_os(CHILD).is_some() {
        let queue = support::open(support::builder(&env::var("CLOUDFLARE_BASE_URL").unwrap()).allow_plain_http());
        // Nothing of this name exists, and the proxy does not connect.
        let _ = Builder::new_current_thread().enable_all().build().unwrap().block_on(Op::Pull.call(&queue));
        return;
    }
    let (plain, secure) = ("http://queues.invalid", "https://queues.invalid");
    type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);
    let table: [Row; 8] = [
        ("HTTPS_PROXY", secure, &[], "CONNECT queues.invalid:443 "),
        ("https_proxy", secure, &[], "CONNECT queues.invalid:443 "),
        ("HTTPS_PROXY", plain, &[], ""),
        ("ALL_PROXY", secure, &[], "CONNECT queues.invalid:443 "),
        ("ALL_PROXY", plain, &[], "POST http://queues.invalid/"),
        ("ALL_PROXY", secure, &[("NO_PROXY", "queues.invalid")], ""),
        ("HTTPS_PROXY", secure, &[("NO_PROXY", "example.com, .invalid")], ""),
        ("HTTPS_PROXY", secure, &[("NO_PROXY", "example.com")], "CONNECT queues.invalid:443 "),
    ];
    for (name, url, others, expected) in table {
        let proxy = Server::playing([support::refused(502, 0)]);
        let variables = [&[(name, &*proxy.url), ("CLOUDFLARE_BASE_URL", url)], others].concat();
        let output = run_again(TEST, &variables);
        assert!(output.status.success(), "{output:?}");
        let line = proxy.requests().first().map(|request| request.line.clone()).unwrap_or_default();
        assert!(
            if expected.is_empty() { line.is_empty() } else { line.starts_with(expected) },
            "{variables:?}: {line}"
        );
    }
}
