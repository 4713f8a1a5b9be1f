//! nginx as distributed, with a configuration of as little as a test needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::daemon::Daemon;
use super::httpd::Tested;
use super::root::{Root, SERVER_ACCOUNT};
use super::scope::{Scope, Setting};
use super::server::{
    self, ACCESS_LOG, ERROR_LOG, Kind, NonceFault, PAPER_NEXT_HEADER, Ports, RESULT_HEADER,
};
use super::{is_root, log, require};

/// The server under test: another one than the system's needs a module built for it, see
/// [`module_path`].
pub fn program() -> String {
    std::env::var("OTPGATE_NGINX").unwrap_or_else(|_| "/usr/sbin/nginx".to_owned())
}

const CONFIGURATION: &str = "nginx.conf";

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Nginx {
    workers: usize,
    account: String,
    main: String,
    directives: String,
    server_directives: String,
    files: Vec<(String, Vec<u8>)>,
    whole: Option<String>,
    without_locations: bool,
    under: Vec<String>,
    error_level: String,
}

impl Nginx {
    pub fn new(workers: usize) -> Nginx {
        Nginx {
            workers,
            account: SERVER_ACCOUNT.to_owned(),
            main: String::new(),
            directives: String::new(),
            server_directives: String::new(),
            files: Vec::new(),
            whole: None,
            without_locations: false,
            under: Vec::new(),
            error_level: "info".to_owned(),
        }
    }

    /// With an error log of that level; a server to be started needs at least notices.
    pub fn error_level(mut self, level: &str) -> Nginx {
        self.error_level = level.to_owned();
        self
    }

    /// Started by a command that runs what is appended to it.
    pub fn under(mut self, command: Vec<String>) -> Nginx {
        self.under = command;
        self
    }

    /// With a single worker, so that everything is answered by the same event loop.
    pub fn one() -> Nginx {
        Nginx::new(1)
    }

    /// With several workers, each with a memory of its own.
    pub fn four() -> Nginx {
        Nginx::new(4)
    }

    /// With workers of another user and group.
    pub fn account(mut self, user: &str, group: &str) -> Nginx {
        self.account = format!("{user} {group}");
        self
    }

    /// Directives outside of all blocks.
    pub fn main(mut self, text: &str) -> Nginx {
        self.main += text.trim_end();
        self.main.push('\n');
        self
    }

    /// Directives in the http block; `{root}` and ports as in [`Scope::directives`].
    pub fn directives(mut self, text: &str) -> Nginx {
        self.directives += text.trim_end();
        self.directives.push('\n');
        self
    }

    /// Directives in the server block that has the scopes.
    pub fn server_directives(mut self, text: &str) -> Nginx {
        self.server_directives += text.trim_end();
        self.server_directives.push('\n');
        self
    }

    /// A file below the server's directory that is there before it starts.
    pub fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Nginx {
        self.files.push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// This text in the http block instead of anything of ours.
    pub fn with_http_block(mut self, text: &str) -> Nginx {
        self.whole = Some(text.to_owned());
        self
    }

    /// No location for any scope: their places are of the test's own making.
    pub fn without_locations(mut self) -> Nginx {
        self.without_locations = true;
        self
    }

    /// What `nginx -t` says about the configuration. `prepare` may spoil files first.
    pub fn test(&self, scopes: Vec<Scope>, prepare: impl FnOnce(&Root)) -> Tested {
        self.require();
        let root = Root::new();
        server::prepare(&root, &scopes);
        // A configuration test binds its ports, but minds none that is taken.
        let ports = Ports { main: 47001, other: 47002 };
        self.configure(&root, ports, &scopes);
        prepare(&root);
        let mut command = self.command(&root);
        command.push("-t".to_owned());
        let output = Command::new(&command[0])
            .args(&command[1..])
            .env("LC_ALL", "C")
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
        let tested = Tested {
            accepted: output.status.success(),
            output: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            configuration: std::fs::read_to_string(root.join(CONFIGURATION)).expect("just written"),
            path: root.join(CONFIGURATION),
        };
        let secrets = log::Secrets::default();
        for secret in scopes.iter().flat_map(|scope| &scope.secrets) {
            secrets.remember(secret);
        }
        let shown = secrets.found_in(&tested.output);
        assert!(shown.is_none(), "{shown:?} is shown by\n{}", tested.output);
        tested
    }

    fn location(&self, root: &Root, ports: Ports, scope: &Scope) -> String {
        assert!(scope.second_provider.is_empty(), "nginx has no second provider");
        let mut text = format!("location /{}/ {{\n", scope.name);
        if !scope.bare {
            let users = server::users_path(root, scope);
            text += &format!(
                "auth_otp \"{}\";\nauth_otp_users_file \"{}\";\n",
                scope.name,
                users.display()
            );
            if scope.digest {
                text += "auth_otp_scheme digest;\n";
            }
            if !scope.pin_file.is_empty() {
                text += &format!(
                    "auth_otp_pin_file \"{}\";\n",
                    server::pins_path(root, scope).display()
                );
            }
            for set in scope.settings.iter().filter(|(it, _)| *it != Setting::NonceCountCheck) {
                text += &format!("{} {};\n", directive(set.0), server::value(root, scope, set));
            }
        }
        text += &server::fill_in(&scope.directives, root, ports, scope);
        text += "}\n";
        text
    }
}

/// The name of a setting in nginx's configuration.
pub fn directive(setting: Setting) -> &'static str {
    match setting {
        Setting::MaxOffset => "auth_otp_max_offset",
        Setting::MaxLinger => "auth_otp_max_linger",
        Setting::MaxIdle => "auth_otp_max_idle",
        Setting::MaxFailures => "auth_otp_max_failures",
        Setting::LockoutTime => "auth_otp_lockout_time",
        Setting::Throttle => "auth_otp_throttle",
        Setting::RefusalTime => "auth_otp_refusal_time",
        Setting::LogoutOnIpChange => "auth_otp_logout_on_ip_change",
        Setting::Forget => "auth_otp_forget",
        Setting::PinCache => "auth_otp_pin_cache",
        Setting::FallThrough => panic!("nginx has no next provider to fall through to"),
        Setting::PinFakeBasic => "auth_otp_pin_fake_basic",
        Setting::AllowHex => "auth_otp_allow_hex",
        Setting::AppPasswords => "auth_otp_app_passwords",
        Setting::TrustedNetworks => "auth_otp_trusted_networks",
        Setting::RequireUser => "auth_otp_require_user",
        Setting::RequireGroup => "auth_otp_require_group",
        Setting::RequireTls => "auth_otp_require_tls",
        Setting::LingerCookie => "auth_otp_linger_cookie",
        Setting::MaxAge => "auth_otp_max_age",
        Setting::NonceLifetime => "auth_otp_nonce_lifetime",
        Setting::NonceCountCheck => panic!("nginx always checks nonce counts"),
    }
}

/// The module under test, unless the server has it built in: then OTPGATE_NGINX_MODULE is set and
/// empty.
pub fn module_path() -> Option<PathBuf> {
    match std::env::var_os("OTPGATE_NGINX_MODULE") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => {
            Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("build/ngx_http_auth_otp_module.so"))
        }
    }
}

impl Kind for Nginx {
    fn require(&self) {
        require(&program());
        if let Some(module) = module_path() {
            assert!(module.exists(), "{} is missing: run `make build`", module.display());
        }
    }

    fn configure(&self, root: &Root, ports: Ports, scopes: &[Scope]) {
        // A copy: a build may be going on meanwhile.
        let load = module_path().map(|path| {
            let module = std::fs::read(path).expect("the module");
            let module = root.write("ngx_http_auth_otp_module.so", module);
            format!("load_module \"{}\";\n", module.display())
        });
        let mut text = format!(
            "{}daemon off;\n\
             worker_processes {};\n\
             pid \"{root}/nginx.pid\";\n\
             error_log \"{root}/{ERROR_LOG}\" {};\n\
             events {{ worker_connections 1024; }}\n",
            load.unwrap_or_default(),
            self.workers,
            self.error_level,
            root = root.path().display(),
        );
        if is_root() {
            text += &format!("user {};\n", self.account);
        }
        let fill_in = |text: &str| server::fill_in(text, root, ports, &Scope::new(""));
        text += &fill_in(&self.main);
        text += &format!(
            "http {{\n\
             client_body_temp_path \"{root}/temporary/body\";\n\
             proxy_temp_path \"{root}/temporary/proxy\";\n\
             fastcgi_temp_path \"{root}/temporary/fastcgi\";\n\
             uwsgi_temp_path \"{root}/temporary/uwsgi\";\n\
             scgi_temp_path \"{root}/temporary/scgi\";\n\
             log_format results '$status $auth_otp_result $auth_otp_user $remote_user $request_uri';\n\
             access_log \"{root}/{ACCESS_LOG}\" results;\n",
            root = root.path().display(),
        );
        root.write("temporary/here", "");
        match &self.whole {
            Some(whole) => text += &fill_in(whole),
            None => {
                text += &format!(
                    "set_real_ip_from 127.0.0.1;\n\
                     real_ip_header X-Forwarded-For;\n\
                     add_header {RESULT_HEADER} $auth_otp_result always;\n\
                     add_header {PAPER_NEXT_HEADER} $auth_otp_paper_next always;\n\
                     auth_otp_refusal_time off;\n\
                     keepalive_requests 1000000;\n\
                     root \"{root}/htdocs\";\n",
                    root = root.path().display(),
                );
                text += &fill_in(&self.directives);
                text += &format!(
                    "server {{\nlisten 127.0.0.1:{};\nserver_name localhost;\n",
                    ports.main
                );
                text += &fill_in(&self.server_directives);
                for scope in scopes.iter().filter(|_| !self.without_locations) {
                    text += &self.location(root, ports, scope);
                }
                text += "}\n";
            }
        }
        text += "}\n";
        root.write(CONFIGURATION, text);
        for (name, content) in &self.files {
            root.write(name, content);
        }
    }

    fn command(&self, root: &Root) -> Vec<String> {
        let directory = root.path().to_string_lossy().into_owned();
        let file = root.join(CONFIGURATION).to_string_lossy().into_owned();
        let nginx = [&program(), "-p", &directory, "-c", &file, "-e", "stderr"].map(str::to_owned);
        // `make memcheck` puts valgrind there, `make sanitize` a library to be preloaded.
        let under = std::env::var("OTPGATE_NGINX_UNDER").unwrap_or_default();
        let under = under.split_whitespace().map(str::to_owned);
        self.under.iter().cloned().chain(under).chain(nginx).collect()
    }

    fn times_ready(&self, log: &str) -> usize {
        log.matches("start worker processes").count()
    }

    fn port_was_taken(&self, log: &str) -> bool {
        log.contains("Address already in use")
    }

    fn reload(&self, daemon: &Daemon) {
        daemon.signal(Signal::HUP);
    }

    fn is_harmless(&self, line: &str) -> bool {
        let Some((level, rest)) = level(line) else { return false };
        // What httpd says by codes of its own.
        if rest.contains("auth_otp: nothing decided: ")
            && rest.contains("; a challenge is sent, user ")
        {
            return level == "error";
        }
        if rest.contains("auth_otp: ") {
            return log::decision(&self.message(line)).is_some_and(|(result, _)| match result {
                // A fault is never harmless: a test has to expect it.
                "error" => false,
                "granted-fresh" | "granted-reuse" | "granted-app" | "granted-trusted"
                | "granted-computer" | "granted-session" | "denied-session" | "denied-expired" => {
                    level == "info"
                }
                _ => level == "error",
            });
        }
        // What nginx says of its own life, and of clients who leave.
        const LIFE: [&str; 14] = [
            "using the \"epoll\" event method",
            "nginx/",
            "built by gcc",
            "OS: Linux",
            "getrlimit(RLIMIT_NOFILE)",
            "start worker process",
            "signal ",
            "gracefully shutting down",
            "exiting",
            "exit",
            "exited with code 0",
            "reconfiguring",
            "closed keepalive connection",
            "client closed connection while waiting for request",
        ];
        ["info", "notice"].contains(&level)
            && !rest.contains("exited on signal")
            && LIFE.iter().any(|words| rest.contains(words))
    }

    fn is_harmless_when_stopping(&self, _: &str) -> bool {
        false
    }

    fn stop_gracefully(&self, daemon: &Daemon) {
        daemon.signal(Signal::QUIT);
    }

    fn refuses_nonce(&self, fault: NonceFault) -> &'static str {
        match fault {
            NonceFault::Forged | NonceFault::Stale => {
                "the nonce has expired or is from before a restart"
            }
            NonceFault::Replayed => "the nonce was already used with this count",
        }
    }

    fn message(&self, line: &str) -> String {
        // time [level] pid#tid: *connection auth_otp: message, client: …, server: …, request: "…",
        // host: "…"
        let Some((_, rest)) = level(line) else { return line.to_owned() };
        let rest = rest.split_once("auth_otp: ").map_or(rest, |(_, message)| message);
        rest.rsplit_once(", client: ").map_or(rest, |(message, _)| message).to_owned()
    }
}

/// Level of a line of the error log, and what stands behind the process number.
fn level(line: &str) -> Option<(&str, &str)> {
    let (level, rest) = line.split_once(" [")?.1.split_once("] ")?;
    Some((level, rest.split_once(": ")?.1))
}
