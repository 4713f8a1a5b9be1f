//! Apache httpd as distributed, with a configuration of as few modules as a test needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::daemon::Daemon;
use super::root::{Root, SERVER_ACCOUNT};
use super::scope::{Scope, Setting};
use super::server::{
    self, ACCESS_LOG, ERROR_LOG, Kind, NonceFault, PAPER_NEXT_HEADER, Ports, RESULT_HEADER,
};
use super::{is_root, log, require};

const PROGRAM: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
const CONFIGURATION: &str = "httpd.conf";

/// How httpd shares its work between processes and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    Event,
    Worker,
    Prefork,
}

impl Mpm {
    pub const ALL: [Mpm; 3] = [Mpm::Event, Mpm::Worker, Mpm::Prefork];

    fn module(self) -> &'static str {
        match self {
            Mpm::Event => "mpm_event",
            Mpm::Worker => "mpm_worker",
            Mpm::Prefork => "mpm_prefork",
        }
    }

    /// Enough processes and threads from the start for 32 clients to be served at the same time.
    fn directives(self) -> &'static str {
        match self {
            Mpm::Event | Mpm::Worker => {
                "StartServers 2\nServerLimit 4\nThreadsPerChild 20\nMinSpareThreads 20\n\
                 MaxSpareThreads 80\nMaxRequestWorkers 80\n"
            }
            Mpm::Prefork => {
                "StartServers 36\nServerLimit 48\nMinSpareServers 4\nMaxSpareServers 48\n\
                 MaxRequestWorkers 48\n"
            }
        }
    }
}

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Httpd {
    mpm: Mpm,
    modules: Vec<String>,
    directives: String,
    files: Vec<(String, Vec<u8>)>,
    otp_module: PathBuf,
    under: Vec<String>,
    options: Vec<String>,
    believes_clients: bool,
}

impl Httpd {
    pub fn new(mpm: Mpm) -> Httpd {
        let modules = [
            "authn_core",
            "authn_file",
            "authz_core",
            "authz_user",
            "auth_basic",
            "dir",
            "headers",
            "remoteip",
        ];
        Httpd {
            mpm,
            modules: modules.map(str::to_owned).to_vec(),
            directives: String::new(),
            files: Vec::new(),
            otp_module: module_path(),
            under: Vec::new(),
            options: Vec::new(),
            believes_clients: true,
        }
    }

    /// That takes nobody's word for the client's address.
    pub fn believing_nobody(mut self) -> Httpd {
        self.believes_clients = false;
        self
    }

    /// With more words on the command line.
    pub fn options(mut self, options: &[&str]) -> Httpd {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Started by a command that runs what is appended to it.
    pub fn under(mut self, command: Vec<String>) -> Httpd {
        self.under = command;
        self
    }

    /// With another module of the same name in the place of ours.
    pub fn with_module(mut self, path: &Path) -> Httpd {
        self.otp_module = path.to_owned();
        self
    }

    /// With the MPM that distributions use.
    pub fn event() -> Httpd {
        Httpd::new(Mpm::Event)
    }

    /// With a single process, so that everything is answered from the same memory.
    pub fn in_one_process(self) -> Httpd {
        self.directives(
            "ServerLimit 1\nStartServers 1\nMinSpareThreads 1\nMaxSpareThreads 21\nMaxRequestWorkers 20",
        )
    }

    /// Loads one more of httpd's modules, `include` for mod_include.so.
    pub fn module(mut self, name: &str) -> Httpd {
        if !self.modules.iter().any(|known| known == name) {
            self.modules.push(name.to_owned());
        }
        self
    }

    /// Directives outside of all sections; `{root}` and ports as in [`Scope::directives`].
    pub fn directives(mut self, text: &str) -> Httpd {
        self.directives += text.trim_end();
        self.directives.push('\n');
        self
    }

    /// A file below the server's directory that is there before it starts.
    pub fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Httpd {
        self.files.push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// What `apache2 -t` says about the configuration. `prepare` may spoil files first.
    pub fn test(&self, scopes: Vec<Scope>, prepare: impl FnOnce(&Root)) -> Tested {
        self.require();
        let root = Root::new();
        server::prepare(&root, &scopes);
        // Nothing listens on them: a configuration test opens no port.
        let ports = Ports { main: 1, other: 2 };
        self.configure(&root, ports, &scopes);
        prepare(&root);
        let mut command = self.command(&root);
        command.push("-t".to_owned());
        let output = Command::new(&command[0])
            .args(&command[1..])
            .env("LC_ALL", "C")
            .output()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {error}"));
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

    fn section(&self, root: &Root, ports: Ports, scope: &Scope) -> String {
        let (name, place) = if scope.of_urls {
            ("Location", format!("/{}", scope.name))
        } else {
            let files = server::files_path(root, scope);
            ("Directory", files.display().to_string())
        };
        let mut text = format!("<{name} \"{place}\">\n");
        if !scope.bare {
            let second = !scope.second_provider.is_empty();
            let scheme = if scope.digest { "Digest" } else { "Basic" };
            text += &format!(
                "AuthType {scheme}\nAuthName \"{}\"\nAuth{scheme}Provider OTP{}\nRequire valid-user\n",
                scope.name,
                if second { " file" } else { "" },
            );
            if second {
                let path = server::second_path(root, scope);
                text += &format!("AuthUserFile \"{}\"\n", path.display());
            }
            if !scope.pin_file.is_empty() {
                // The same provider can't have two files in one section, so the PINs have an alias.
                text += &format!("OTPAuthPINAuthProvider {}\n", pin_alias(scope));
            }
            let users = server::users_path(root, scope);
            text += &format!("OTPAuthUsersFile \"{}\"\n", users.display());
            for set in &scope.settings {
                text += &format!("{} {}\n", directive(set.0), server::value(root, scope, set));
            }
        }
        text += &server::fill_in(&scope.directives, root, ports, scope);
        text += &format!("</{name}>\n");
        text
    }
}

fn pin_alias(scope: &Scope) -> String {
    format!("pins-of-{}", scope.name)
}

/// The name of a setting in httpd's configuration.
pub fn directive(setting: Setting) -> &'static str {
    match setting {
        Setting::MaxOffset => "OTPAuthMaxOffset",
        Setting::MaxLinger => "OTPAuthMaxLinger",
        Setting::MaxIdle => "OTPAuthMaxIdle",
        Setting::MaxFailures => "OTPAuthMaxOTPFailure",
        Setting::LockoutTime => "OTPAuthLockoutTime",
        Setting::Throttle => "OTPAuthThrottle",
        Setting::RefusalTime => "OTPAuthRefusalTime",
        Setting::LogoutOnIpChange => "OTPAuthLogoutOnIPChange",
        Setting::Forget => "OTPAuthForget",
        Setting::PinCache => "OTPAuthPINCache",
        Setting::FallThrough => "OTPAuthFallThrough",
        Setting::PinFakeBasic => "PINFakeBasicAuth",
        Setting::AllowHex => "OTPAuthAllowHex",
        Setting::AppPasswords => "OTPAuthAppPasswords",
        Setting::TrustedNetworks => "OTPAuthTrustedNetworks",
        Setting::RequireUser => "OTPAuthRequireUser",
        Setting::RequireGroup => "OTPAuthRequireGroup",
        Setting::RequireTls => "OTPAuthRequireTLS",
        Setting::LingerCookie => "OTPAuthLingerCookie",
        Setting::MaxAge => "OTPAuthMaxAge",
        Setting::NonceLifetime => "AuthDigestNonceLifetime",
        Setting::NonceCountCheck => "AuthDigestNcCheck",
    }
}

/// The module under test.
fn module_path() -> PathBuf {
    match std::env::var_os("OTPGATE_MODULE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("build/mod_authn_otp.so"),
    }
}

fn module_file(name: &str) -> String {
    format!("{MODULES}/mod_{name}.so")
}

impl Kind for Httpd {
    fn require(&self) {
        require(PROGRAM);
        for module in &self.modules {
            require(&module_file(module));
        }
        require(&module_file(self.mpm.module()));
        let module = &self.otp_module;
        assert!(module.exists(), "{} is missing: run `make build`", module.display());
    }

    fn configure(&self, root: &Root, ports: Ports, scopes: &[Scope]) {
        let mut text = format!(
            "ServerRoot \"{root}\"\n\
             ServerName localhost\n\
             Listen 127.0.0.1:{port}\n\
             PidFile \"{root}/httpd.pid\"\n\
             DefaultRuntimeDir \"{root}\"\n\
             LoadModule {mpm}_module {mpm_file}\n\
             {mpm_directives}",
            root = root.path().display(),
            port = ports.main,
            mpm = self.mpm.module(),
            mpm_file = module_file(self.mpm.module()),
            mpm_directives = self.mpm.directives(),
        );
        let digest = scopes.iter().any(|scope| scope.digest).then_some("auth_digest");
        for module in self.modules.iter().map(String::as_str).chain(digest) {
            text += &format!("LoadModule {module}_module {}\n", module_file(module));
        }
        // A copy: httpd reads it again at each reload, and a build may be going on meanwhile.
        let module = std::fs::read(&self.otp_module).expect("the module");
        let module = root.write("mod_authn_otp.so", module);
        text += &format!("LoadModule authn_otp_module {}\n", module.display());
        if is_root() {
            text += &format!("User {SERVER_ACCOUNT}\nGroup {SERVER_ACCOUNT}\n");
        }
        // Not where nothing has such a code: it would be part of what requests are measured to cost.
        let has_paper = |scope: &Scope| scope.users.windows(6).any(|part| part == b"PAPER/");
        let tells_paper = match scopes.iter().any(has_paper) {
            true => {
                format!("Header always set {PAPER_NEXT_HEADER} \"expr=%{{note:OTP_PAPER_NEXT}}\"\n")
            }
            false => String::new(),
        };
        text += &format!(
            "ErrorLog {ERROR_LOG}\n\
             LogLevel info authn_otp:trace8\n\
             LogFormat \"%>s %{{OTP_RESULT}}n %{{OTP_RESULT}}e %u %U\" results\n\
             CustomLog {ACCESS_LOG} results\n\
             DocumentRoot \"{root}/htdocs\"\n\
             DirectoryIndex disabled\n\
             Timeout 60\n\
             KeepAlive On\n\
             MaxKeepAliveRequests 0\n\
             {believes}\
             Header always set {RESULT_HEADER} \"expr=%{{note:OTP_RESULT}}\"\n\
             {tells_paper}\
             <Directory />\nAllowOverride None\nRequire all denied\nOTPAuthRefusalTime Off\n</Directory>\n",
            root = root.path().display(),
            believes = if self.believes_clients {
                "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n"
            } else {
                ""
            },
        );
        for scope in scopes.iter().filter(|scope| !scope.pin_file.is_empty()) {
            text += &format!(
                "<AuthnProviderAlias file {}>\nAuthUserFile \"{}\"\n</AuthnProviderAlias>\n",
                pin_alias(scope),
                server::pins_path(root, scope).display()
            );
        }
        text += &server::fill_in(&self.directives, root, ports, &Scope::new(""));
        for scope in scopes {
            text += &self.section(root, ports, scope);
        }
        root.write(CONFIGURATION, text);
        for (name, content) in &self.files {
            root.write(name, content);
        }
    }

    fn command(&self, root: &Root) -> Vec<String> {
        let directory = root.path().to_string_lossy().into_owned();
        let file = root.join(CONFIGURATION).to_string_lossy().into_owned();
        let httpd = [PROGRAM, "-d", &directory, "-f", &file, "-D", "FOREGROUND"].map(str::to_owned);
        // `make sanitize` preloads a library by it.
        let under = std::env::var("OTPGATE_HTTPD_UNDER").unwrap_or_default();
        let under = under.split_whitespace().map(str::to_owned);
        let options = self.options.iter().cloned();
        self.under.iter().cloned().chain(under).chain(httpd).chain(options).collect()
    }

    fn times_ready(&self, log: &str) -> usize {
        log.matches("configured -- resuming normal operations").count()
    }

    fn port_was_taken(&self, log: &str) -> bool {
        log.contains("AH00072")
    }

    fn reload(&self, daemon: &Daemon) {
        daemon.signal(Signal::USR1);
    }

    fn is_harmless(&self, line: &str) -> bool {
        const LIFE: [&str; 31] = [
            // Configured and built, by MPM.
            "AH00489:", "AH00490:", "AH00292:", "AH00293:", "AH00163:", "AH00164:",
            // The command line.
            "AH00094:", // Stopped by SIGTERM, by MPM.
            "AH00491:", "AH00295:", "AH00169:", "AH00096:",
            // Stopped gracefully by SIGWINCH, by MPM; then, prefork kills its own children.
            "AH00492:", "AH00296:", "AH00170:",
            // What isn't there, which says nothing about a login.
            "AH00128:", // Graceful restart, by MPM.
            "AH00493:", "AH00297:", "AH00171:",
            // As busy as the tests want it to be, by MPM.
            "AH00484:", "AH10159:", "AH03490:", "AH00286:", "AH00288:", "AH00161:", "AH00162:",
            // mod_auth_basic and mod_auth_form repeat each refusal: wrong password, unknown user,
            // other scheme.
            "AH01617:", "AH01618:", "AH01614:", "AH01807:",
            // mod_auth_digest, too: denied by provider, user unknown to it.
            "AH01791:", "AH01790:",
        ];
        let Some(source) = source(line) else {
            return false;
        };
        match source.strip_prefix("authn_otp:") {
            Some(level) if level == "debug" || level.starts_with("trace") => true,
            Some(level) => {
                log::decision(&self.message(line)).is_some_and(|(result, _)| match result {
                    // A fault is never harmless: a test has to expect it.
                    "error" => false,
                    "granted-fresh" | "granted-reuse" | "granted-app" | "granted-trusted"
                    | "granted-computer" | "granted-session" | "denied-session"
                    | "denied-expired" | "unknown" => level == "info",
                    _ => level == "warn",
                })
            }
            None => LIFE.iter().any(|code| line.contains(code)),
        }
    }

    fn is_harmless_when_stopping(&self, line: &str) -> bool {
        // A child that is stopped at once frees what its own threads are still using: with no
        // module of ours loaded, one stop in a hundred shows one of the first two. The others: it
        // takes a second reminder.
        let codes = ["AH00052:", "AH03092:", "AH00045:", "AH00046:"];
        codes.iter().any(|code| line.contains(code))
    }

    fn stop_gracefully(&self, daemon: &Daemon) {
        daemon.signal(Signal::WINCH);
    }

    fn refuses_nonce(&self, fault: NonceFault) -> &'static str {
        match fault {
            NonceFault::Forged => "AH01776:",
            NonceFault::Stale => "AH01778:",
            NonceFault::Replayed => {
                "AH01774: Warning, possible replay attack: nonce-count check failed"
            }
        }
    }

    fn message(&self, line: &str) -> String {
        // [time] [module:level] [pid …:tid …] file.c(12): (13)Permission denied: [client …] message
        let mut rest = line;
        while rest.starts_with('[') {
            match rest.split_once("] ") {
                Some((_, after)) => rest = after,
                None => break,
            }
        }
        let message = match rest.split_once("[client ") {
            Some((before, after)) => {
                before.to_owned() + after.split_once("] ").map_or("", |(_, message)| message)
            }
            None => rest.to_owned(),
        };
        // httpd doubles the backslashes of what it is given.
        message.replace(r"\\", r"\")
    }
}

/// Module and level of a line of the error log.
fn source(line: &str) -> Option<&str> {
    line.split_once("] [")?.1.split_once(']').map(|(source, _)| source)
}

/// What a configuration test said.
#[derive(Debug)]
pub struct Tested {
    pub accepted: bool,
    pub output: String,
    pub configuration: String,
    pub path: PathBuf,
}

impl Tested {
    /// Insists that the output names the line of the configuration in which `directive` stands.
    #[track_caller]
    pub fn names_the_line_of(&self, directive: &str) -> &Tested {
        let number = 1 + self
            .configuration
            .lines()
            .position(|line| line.contains(directive))
            .unwrap_or_else(|| panic!("no {directive:?} in the configuration"));
        let path = self.path.display();
        let ours = format!("{path}:{number}");
        let httpds = format!("line {number} of {path}:");
        assert!(
            self.output.contains(&ours) || self.output.contains(&httpds),
            "line {number} isn't named:\n{}",
            self.output
        );
        self
    }

    #[track_caller]
    pub fn says(&self, substring: &str) -> &Tested {
        assert!(self.output.contains(substring), "{substring:?} isn't said:\n{}", self.output);
        self
    }

    #[track_caller]
    pub fn is_accepted(&self, accepted: bool) -> &Tested {
        assert_eq!(self.accepted, accepted, "{}", self.output);
        self
    }
}
