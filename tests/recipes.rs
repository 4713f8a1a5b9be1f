//! The recipes of docs/recipes, as they stand there: each block is taken from its page and run, and does what the page
//! says. A block that nobody runs here says on its page by which versions it was tried by hand, or that it wasn't.

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use common::backend::Backend;
use common::client::basic;
use common::root::{self, Root};
use common::server::PAGE_TEXT;
use common::visitor::Visitor;
use common::{Httpd, Nginx, Reply, Request, Scope, Server, Token};
use otpgate::page::{STYLE, Template};

// ---- Pages and their blocks --------------------------------------------------------------------------------

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes");

/// A fenced block: ```` ```language name ````.
struct Block {
    language: String,
    name: String,
    text: String,
}

/// A recipe.
struct Page {
    name: &'static str,
    text: String,
    blocks: Vec<Block>,
    /// Numbers of the blocks that were run.
    run: RefCell<BTreeSet<usize>>,
}

impl Page {
    fn open(name: &'static str) -> Page {
        let path = Path::new(FOLDER).join(name).with_extension("md");
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut blocks = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```") else { continue };
            let (language, name) = info.split_once(' ').unwrap_or((info, ""));
            let mut text = String::new();
            for line in lines.by_ref().take_while(|line| *line != "```") {
                text += line;
                text.push('\n');
            }
            blocks.push(Block { language: language.to_owned(), name: name.to_owned(), text });
        }
        Page { name, text, blocks, run: RefCell::default() }
    }

    /// The block as it stands on the page.
    #[track_caller]
    fn block(&self, language: &str, name: &str) -> &str {
        let number = self
            .blocks
            .iter()
            .position(|block| (block.language.as_str(), block.name.as_str()) == (language, name))
            .unwrap_or_else(|| panic!("{}: no block `{language} {name}`", self.name));
        self.run.borrow_mut().insert(number);
        &self.blocks[number].text
    }

    /// The block with what the page's examples are called replaced by what is here. All of `these` must be there.
    #[track_caller]
    fn filled(&self, language: &str, name: &str, these: &[(&str, &str)]) -> String {
        let mut text = self.block(language, name).to_owned();
        for (example, here) in these {
            assert!(text.contains(example), "{} `{language} {name}`: {example}", self.name);
            text = text.replace(example, here);
        }
        // What must not be touched on the machine that the tests run on.
        for elsewhere in ["/var/lib/otpgate", "/etc/otpgate"] {
            assert!(!text.contains(elsewhere), "{} `{language} {name}`: {elsewhere}", self.name);
        }
        text
    }

    /// Every block that can be run was run, or the page says why not.
    fn finish(self) {
        let run = self.run.into_inner();
        for (number, Block { language, name, .. }) in self.blocks.iter().enumerate() {
            if run.contains(&number) || ["text", "html"].contains(&language.as_str()) {
                continue;
            }
            let said = match name.rsplit(' ').next() {
                Some("by-hand") => "Tried by hand on 20",
                Some("untried") => "Not tried",
                Some("test-packages") => "`make test-packages` runs",
                _ => panic!("{}: nobody runs `{language} {name}`", self.name),
            };
            assert!(self.text.contains(said), "{}: `{language} {name}`: {said}", self.name);
        }
    }
}

macro_rules! recipes {
    ($($page:ident)*) => {
        const PAGES: &[&str] = &[$(stringify!($page)),*];

        $(#[test]
        fn $page() {
            let name: &'static str = stringify!($page).replace('_', "-").leak();
            let page = Page::open(name);
            run::$page(&page);
            page.finish();
        })*
    };
}

recipes! {
    application
    proxy
    pins_htpasswd
    groups
    pages
    form
    login_page
    programs
    tls
    logging
    monitoring
    backup
    migrate
    several_servers
    troubleshooting
    pins_ldap
    pins_pam
    containers
    confinement
    upgrade
}

#[test]
fn every_recipe_is_run() {
    let mut pages: Vec<String> = fs::read_dir(FOLDER)
        .expect("docs/recipes")
        .flatten()
        .filter_map(|entry| {
            entry.file_name().into_string().ok()?.strip_suffix(".md").map(str::to_owned)
        })
        .collect();
    pages.sort();
    // fail2ban's page is run by tests/fail2ban.rs.
    let known = PAGES.iter().chain(&["fail2ban"]);
    let mut known: Vec<String> = known.map(|page| page.replace('_', "-")).collect();
    known.sort();
    assert_eq!(pages, known);
}

// ---- Servers and users -------------------------------------------------------------------------------------

const PIN: &str = "sesame9";
const USERS: (&str, &str) = ("/var/lib/otpgate/users", "{root}/users/area/users");

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn bob() -> Token {
    Token::hotp("bob").pin("opendoor").key(b"01234567890123456789")
}

/// The users file of a recipe, and documents at /area.
fn area() -> Scope {
    Scope::bare("area").token(&alice()).token(&bob())
}

/// Some of what Debian's package enables by itself.
const ENABLED: [&str; 4] = ["alias", "authz_host", "env", "setenvif"];

/// What `a2enmod` enables along with a module: the `# Depends:` of Debian's mods-available.
const DEPENDENCIES: [(&str, &[&str]); 4] = [
    ("proxy_http", &["proxy"]),
    ("dav_fs", &["dav"]),
    ("session_cookie", &["session"]),
    ("session_crypto", &["session"]),
];

/// With the modules that the recipe's first line enables, and no others.
fn httpd(recipe: &str) -> Httpd {
    let names = recipe
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# a2enmod "))
        .expect("the recipe's first line says which modules it needs");
    // The tests' own configuration has them anyway.
    for (directive, module) in
        [("RequestHeader", "headers"), ("Header ", "headers"), ("RemoteIP", "remoteip")]
    {
        let is_used = recipe.lines().any(|line| line.trim_start().starts_with(directive));
        let is_enabled = names.split(' ').any(|name| name == module);
        assert!(is_enabled || !is_used, "{directive} needs {module}");
    }
    let mut httpd = ENABLED.iter().fold(Httpd::event(), |httpd, name| httpd.module(name));
    for name in names.split(' ').filter(|name| *name != "authn_otp") {
        let needed = DEPENDENCIES.iter().find(|(module, _)| *module == name);
        for needed in needed.map(|(_, needed)| *needed).unwrap_or_default() {
            httpd = httpd.module(needed);
        }
        httpd = httpd.module(name);
    }
    httpd.directives(recipe)
}

/// A recipe that goes into nginx's `server`.
fn nginx_server(recipe: &str) -> Nginx {
    Nginx::one().without_locations().server_directives(recipe)
}

/// Runs commands of a recipe in a folder, with the command and its older names in the path.
#[track_caller]
fn shell(folder: &Path, script: &str, input: &str) -> String {
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).expect("a folder");
    // A copy, as other accounts may not come where the original is.
    let command = programs.join("otpgate");
    if !command.exists() {
        // By a process of its own: one that another test starts meanwhile would have it open to write.
        let copied = Command::new("cp").arg(common::program()).arg(&command).status();
        assert!(copied.is_ok_and(|status| status.success()), "the command");
        std::os::unix::fs::symlink("otpgate", programs.join("otplock")).expect("a link");
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    let mut child = Command::new("/bin/sh")
        .args(["-eu", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("an end");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}{err}");
    out.into_owned()
}

/// A FastCGI application that keeps what it was asked, and answers with the page.
struct FastCgi {
    port: u16,
    thread: std::thread::JoinHandle<Vec<u8>>,
}

impl FastCgi {
    /// For one request.
    fn start() -> FastCgi {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("the port").port();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            FastCgi::answer(stream).expect("a request")
        });
        FastCgi { port, thread }
    }

    /// The FastCGI specification, section 3.3: version, type, request (2), length (2), padding, reserved.
    fn answer(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
        const PARAMS: u8 = 4;
        const STDIN: u8 = 5;
        const STDOUT: u8 = 6;
        const END: u8 = 3;
        let mut params = Vec::new();
        loop {
            let mut header = [0; 8];
            stream.read_exact(&mut header)?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let mut content = vec![0; length + usize::from(header[6])];
            stream.read_exact(&mut content)?;
            match header[1] {
                PARAMS => params.extend_from_slice(&content[..length]),
                STDIN if length == 0 => break,
                _ => {}
            }
        }
        let record = |kind: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).expect("short").to_be_bytes();
            [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
        };
        let page = format!("Content-Type: text/plain\r\n\r\n{PAGE_TEXT}");
        stream.write_all(&record(STDOUT, page.as_bytes()))?;
        stream.write_all(&record(END, &[0; 8]))?;
        Ok(params)
    }

    /// What the request's variables are, as bytes with their lengths before them.
    fn seen(self) -> String {
        String::from_utf8_lossy(&self.thread.join().expect("no panic inside")).into_owned()
    }
}

// ---- What the pages say ------------------------------------------------------------------------------------

mod run {
    use super::*;

    pub fn application(page: &Page) {
        behind_apache(page);
        behind_nginx(page);
        cgi_programs(page);
        fastcgi_programs(page);
    }

    /// The application sees the user, whatever the client says it is, and no password.
    fn sees_the_user_and_no_password(server: &Server, backend: &Backend) {
        let alice = alice();
        let ask = |password: String| {
            server.keep_secret(&password);
            let request = Request::get("/app/page").basic("alice", password);
            let pretending = ["X-Remote-User", "X_Remote_User", "X-Remote_User", "X_Remote-User"];
            let request =
                pretending.iter().fold(request, |request, name| request.header(name, "root"));
            server.send(&request)
        };
        ask(alice.with(&alice.wrong_code())).is(401, "denied-code");
        assert!(backend.take_headers().is_empty());
        for result in ["granted-fresh", "granted-reuse"] {
            ask(alice.password(0)).is(200, result);
            let seen = backend.take_headers();
            assert_eq!(seen.len(), 1);
            let is_user =
                |name: &str| name.to_ascii_lowercase().replace('_', "-") == "x-remote-user";
            let users: Vec<_> = seen[0].iter().filter(|(name, _)| is_user(name)).collect();
            assert_eq!(users, [&("X-Remote-User".to_owned(), "alice".to_owned())]);
            let shown = format!("{seen:?}");
            assert!(!shown.contains("Authorization") && !shown.contains("Basic"), "{shown}");
        }
    }

    fn behind_apache(page: &Page) {
        let backend = Backend::start();
        let here = format!("127.0.0.1:{}", backend.port());
        let recipe = page.filled("apache", "proxied", &[USERS, ("127.0.0.1:3000", &here)]);
        let server = Server::start(httpd(&recipe).directives("LogLevel proxy:warn"), vec![area()]);
        sees_the_user_and_no_password(&server, &backend);
    }

    fn behind_nginx(page: &Page) {
        let backend = Backend::start();
        let here = format!("127.0.0.1:{}", backend.port());
        let recipe = page.filled("nginx", "proxied", &[USERS, ("127.0.0.1:3000", &here)]);
        let server = Server::start(nginx_server(&recipe), vec![area()]);
        server.expect_log("client sent invalid header line");
        sees_the_user_and_no_password(&server, &backend);
    }

    fn cgi_programs(page: &Page) {
        let recipe = page.filled("apache", "cgi", &[USERS, ("/usr/lib/cgi-bin/", "{root}/cgi/")]);
        let script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nwelcome\\n'\nenv\n";
        let httpd =
            httpd(&recipe).file("cgi/show", script).directives("ScriptSock {root}/logs/cgid");
        let server = Server::start(httpd, vec![area()]);
        let root = server.root();
        root::set_mode(&root.join("cgi/show"), 0o755);
        let alice = alice();
        server.keep_secret(alice.password(0));
        let reply = server.send(&Request::get("/cgi/show").basic("alice", alice.password(0)));
        reply.is(200, "granted-fresh");
        let shown = reply.0.text();
        assert!(shown.lines().any(|line| line == "REMOTE_USER=alice"), "{shown}");
        assert!(!shown.contains("AUTHORIZATION") && !shown.contains(PIN), "{shown}");
    }

    fn fastcgi_programs(page: &Page) {
        let application = FastCgi::start();
        let here = format!("127.0.0.1:{}", application.port);
        let these = [
            USERS,
            ("127.0.0.1:9000", &here),
            ("include fastcgi_params", "include /etc/nginx/fastcgi_params"),
        ];
        let recipe = page.filled("nginx", "fastcgi", &these);
        let server = Server::start(nginx_server(&recipe), vec![area()]);
        let alice = alice();
        server.keep_secret(alice.password(0));
        let request = Request::get("/app/page").basic("alice", alice.password(0));
        server.send(&request.header("X-Remote-User", "root")).is(200, "granted-fresh");
        let seen = application.seen();
        assert!(seen.contains("REMOTE_USERalice") && !seen.contains("root"), "{seen}");
        assert!(seen.contains("HTTP_X_REMOTE_USERalice"), "{seen}");
        assert!(!seen.contains("Basic") && !seen.contains("AUTHORIZATION"), "{seen}");
    }

    pub fn proxy(page: &Page) {
        let trusted = ("192.0.2.10", "127.0.0.1");
        let client = "198.51.100.7";
        let invented = "203.0.113.9";
        let believes = |server: &Server| {
            let place = server.at("area");
            let alice = alice();
            // A proxy appends to what the client has sent.
            let chain = format!("{invented}, {client}");
            place.login_from(&chain, "alice", alice.password(0)).is(200, "granted-fresh");
            assert_eq!(place.users().address("alice"), client);
        };
        let scope = || Scope::new("area").token(&alice());
        for (from, believed) in [(trusted.1, true), ("192.0.2.10", false)] {
            let recipe = page.filled("apache", "believed", &[(trusted.0, from)]);
            let server = Server::start(httpd(&recipe).believing_nobody(), vec![scope()]);
            if believed {
                believes(&server);
                continue;
            }
            // Nobody else is believed.
            let place = server.at("area");
            place.login_from(client, "alice", alice().password(0)).is(200, "granted-fresh");
            assert_eq!(place.users().address("alice"), "127.0.0.1");
        }
        let recipe = page.filled("nginx", "believed", &[trusted]);
        // In the server block, where it replaces what the tests say outside.
        believes(&Server::start(Nginx::one().server_directives(&recipe), vec![scope()]));

        let recipe = page.block("apache", "proxy-protocol");
        let proxied = |server: &Server, port: u16, path: &str| {
            let alice = alice();
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
            let authorization = basic("alice", alice.password(0));
            server.keep_secret(authorization.trim_start_matches("Basic "));
            let request = format!(
                "PROXY TCP4 {client} 192.0.2.1 4711 443\r\n\
                 GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Authorization: {authorization}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).expect("it is read");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(PAGE_TEXT), "{answer}");
            assert_eq!(server.at("area").users().address("alice"), client);
        };
        let server = Server::start(httpd(recipe).believing_nobody(), vec![scope()]);
        server.expect_log("AH03492"); // the PROXY protocol is enabled
        proxied(&server, server.port(), "/area/page.txt");
        let these = [
            USERS,
            ("127.0.0.1:8443", "127.0.0.1:{other_port}"),
            ("/var/www/otp", "{root}/htdocs"),
        ];
        let recipe = page.filled("nginx", "proxy-protocol", &these);
        let server = Server::start(Nginx::one().directives(&recipe), vec![scope()]);
        proxied(&server, server.other_port(), "/area/page.txt");
    }

    pub fn pins_htpasswd(page: &Page) {
        common::require("/usr/bin/htpasswd");
        let made = Root::new();
        let (users, pins) = (made.join("users"), made.join("pins"));
        let these = [("otpgate add", "otpgate --file users add"), ("/etc/otpgate-pins", "pins")];
        let script = page.filled("sh", "users", &these);
        // The command is asked for nothing: the PIN is elsewhere.
        fs::write(&users, "").expect("a users file");
        let address = shell(made.path(), &script, "sesame9\n");
        assert!(address.contains("otpauth://totp/"), "{address}");
        let line = fs::read_to_string(&users).expect("users");
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields[1..3], ["alice", "+"], "{line}");
        let dave = Token::hotp("alice").external_pin(PIN);
        let pins = fs::read_to_string(pins).expect("pins");
        let scope = || {
            Scope::bare("private")
                .token(&dave)
                .pin_file_line(&pins)
                .directives("Require all granted")
        };
        let these = [
            ("/var/lib/otpgate/users", "{root}/users/private/users"),
            ("/etc/otpgate-pins", "{root}/pins/private"),
        ];
        let asks_for_both = |server: &Server| {
            let place = server.at("private");
            place.login("alice", dave.code(0)).is(401, "denied-pin");
            place.login("alice", PIN).is_denied();
            place.login("alice", format!("simsim8{}", dave.code(0))).is(401, "denied-pin");
            place.login("alice", dave.password(0)).is(200, "granted-fresh");
        };
        let recipe = page.filled("apache", "file", &these);
        asks_for_both(&Server::start(httpd(&recipe), vec![scope()]));
        let recipe = page.filled("nginx", "file", &these);
        asks_for_both(&Server::start(nginx_server(&recipe), vec![scope()]));

        let recipe = page.filled("apache", "both", &these);
        let scope = scope().pin_file("erin", "opendoor");
        let server = Server::start(httpd(&recipe), vec![scope]);
        asks_for_both(&server);
        server.at("private").login("erin", "opendoor").is_status(200);
    }

    pub fn groups(page: &Page) {
        let carol = Token::hotp("carol").pin("opensea").key(b"abcdefghijabcdefghij");
        let dave = Token::hotp("dave").pin("opensky").key(b"ABCDEFGHIJABCDEFGHIJ");
        let scope = |name: &str| {
            let users = [alice(), bob(), carol.clone(), dave.clone()];
            users.iter().fold(Scope::bare(name), |scope, token| scope.token(token))
        };
        let these = [
            ("/var/lib/otpgate/users", "{root}/users/private/users"),
            ("/etc/otpgate-groups", "{root}/groups"),
        ];
        let recipe = page.filled("apache", "groups", &these);
        let httpd = httpd(&recipe)
            .file("groups", page.block("text", ""))
            .file("htdocs/private/admin/page.txt", PAGE_TEXT);
        let server = Server::start(httpd, vec![scope("private").directives("Require all granted")]);
        let private = server.at("private");
        for token in [&alice(), &bob(), &carol] {
            let admin = private.request_for("admin/page.txt", token.user(), token.password(0));
            private.send(admin).is(200, "granted-fresh");
        }
        let admin = private.request_for("admin/page.txt", "dave", dave.password(0));
        private.users().stays_the_same(|| {
            private.send(admin).is(401, "denied-user");
        });
        private.login("dave", dave.password(0)).is(200, "granted-fresh");

        let these = [
            ("/var/lib/otpgate/users", "{root}/users/admin/users"),
            ("127.0.0.1:8080", "127.0.0.1:{other_port}"),
            ("/var/www/otp", "{root}/htdocs"),
            ("/etc/otpgate-groups", "{root}/groups"),
        ];
        let recipe = page.filled("nginx", "groups", &these);
        let nginx = Nginx::one()
            .without_locations()
            .directives(&recipe)
            .file("groups", page.block("text", ""))
            .file("htdocs/page.txt", PAGE_TEXT);
        let server = Server::start(nginx, vec![scope("admin")]);
        let ask = |path: &str, login: Option<(&str, String)>| {
            let mut request = Request::get(path);
            if let Some((user, password)) = login {
                server.keep_secret(&password);
                request = request.basic(user, password);
            }
            Reply(common::client::fetch(server.other_port(), &request))
        };
        ask("/admin/page.txt", None).is_status(401);
        for token in [alice(), bob(), carol] {
            let user = String::from_utf8(token.user().to_vec()).expect("a name");
            ask("/admin/page.txt", Some((&user, token.with(&token.wrong_code()))))
                .is(401, "denied-code");
            ask("/admin/page.txt", Some((&user, token.password(0)))).is(200, "granted-fresh");
        }
        server.at("admin").users().stays_the_same(|| {
            ask("/admin/page.txt", Some(("dave", dave.password(0)))).is(401, "denied-user");
        });
        ask("/page.txt", Some(("dave", dave.password(0)))).is(200, "granted-fresh");
    }

    /// `tests/web_pages.rs` runs it.
    pub fn pages(_: &Page) {}

    pub fn form(page: &Page) {
        let these = [
            ("/var/lib/otpgate/users", "{root}/users/private/users"),
            ("/etc/apache2/session-passphrase", "{root}/passphrase"),
        ];
        let recipe = page.filled("apache", "form", &these);
        let login = page.blocks.iter().find(|block| block.language == "html").expect("a form");
        let httpd = httpd(&recipe)
            .file("passphrase", "correct horse battery staple\n")
            .file("htdocs/login.html", &login.text)
            .directives("<Files login.html>\nRequire all granted\n</Files>");
        let alice = alice();
        let scope = Scope::bare("private").token(&alice).directives("Require all granted");
        let server = Server::start(httpd, vec![scope]);
        let place = server.at("private");
        server.expect_log("AH01849"); // the crypto library is loaded

        // Who has no session is sent to the form, and it leads back here.
        let reply = place.send(Request::get("/private/page.txt"));
        let location = |reply: &Reply| reply.0.header("Location").unwrap_or_default().to_owned();
        assert_eq!(reply.status(), 302, "{reply:?}");
        assert!(location(&reply).ends_with("/login.html"), "{reply:?}");
        let form = server.send(&Request::get("/login.html")).0.text();
        assert!(form.contains("action=\"/private/dologin\""), "{form}");
        for field in ["httpd_username", "httpd_password"] {
            assert!(form.contains(&format!("name=\"{field}\"")), "{form}");
        }

        let submit = |password: &str| {
            server.keep_secret(password);
            let form = format!("httpd_username=alice&httpd_password={password}");
            server.send(&Request::post("/private/dologin", &form))
        };
        let refused = submit(&alice.with(&alice.wrong_code()));
        assert!(location(&refused).ends_with("/login.html"), "{refused:?}");
        assert_eq!(place.users().failures("alice"), 1);
        let reply = submit(&alice.password(0));
        assert!(location(&reply).ends_with("/private/"), "{reply:?}");
        let cookie = reply.0.header("Set-Cookie").expect("a session").to_owned();
        for word in ["HttpOnly", "Secure", "SameSite=Lax", "path=/private"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        // Encrypted, as the page says.
        assert!(!cookie.contains(&alice.password(0)) && !cookie.contains("alice"), "{cookie}");
        let cookie = cookie.split(';').next().expect("the session");
        let asked = |path: &str| server.send(&Request::get(path).header("Cookie", cookie));
        asked("/private/page.txt").is(200, "granted-reuse");
        // An empty password ends the code, and the session with it.
        submit("");
        assert_eq!(server.decisions("forgotten", "alice"), 1);
        assert_ne!(asked("/private/page.txt").status(), 200);
        let out = asked("/private/logout");
        assert!(location(&out).ends_with("/login.html"), "{out:?}");
        assert!(
            out.0.header("Set-Cookie").is_some_and(|it| it.contains("Max-Age=1;")),
            "{:?}",
            out.0
        );
    }

    /// Frames for the login page: the first is the one that is built in.
    pub fn login_page(page: &Page) {
        let built_in = include_str!("../src/page/template.html");
        assert_eq!(page.block("html", "frame"), built_in);
        Template::parse(page.block("html", "own"), STYLE).expect("a frame with all it needs");
        for placeholder in built_in.split("{{").skip(1) {
            let (name, _) = placeholder.split_once("}}").expect("its end");
            assert!(page.text.contains(&format!("| `{{{{{name}}}}}` |")), "{name} isn't explained");
        }
        let scopes = || {
            let open = "Require all granted";
            vec![
                area().directives(open),
                Scope::bare("admin").directives(open),
                Scope::bare("api").directives(open),
            ]
        };
        let recipe =
            page.filled("apache", "page", &[USERS, ("OTPAuthMaxAge 300", "OTPAuthMaxAge 1")]);
        people_log_in_and_programs_are_asked(&Server::start(httpd(&recipe), scopes()));
        let these = [USERS, ("auth_otp_max_age 300", "auth_otp_max_age 1")];
        let recipe = page.filled("nginx", "page", &these);
        let without_directives = |scope: Scope| Scope { directives: String::new(), ..scope };
        let scopes = scopes().into_iter().map(without_directives).collect();
        people_log_in_and_programs_are_asked(&Server::start(nginx_server(&recipe), scopes));
        computers(page);
    }

    fn people_log_in_and_programs_are_asked(server: &Server) {
        let mut visitor = Visitor::of(server);
        let log_in = |visitor: &mut Visitor<'_>, wanted: &str, fields: &[(&str, &str)]| {
            let page = visitor.open(wanted);
            assert!(page.text().contains("Example Ltd"), "{page:?}");
            let done = visitor.submit(&page, fields);
            assert_eq!(done.way().as_deref(), Some(wanted), "{}", done.text());
        };
        let code = alice().code(0);
        let fields = [("user", "alice"), ("pin", PIN), ("code", &*code)];
        log_in(&mut visitor, "/area/page.txt", &fields);
        let shown = visitor.get("/area/page.txt");
        assert_eq!((shown.answer.status, shown.text().as_str()), (200, PAGE_TEXT));
        // A newer code for admins.
        common::wait_until("the code is too old there", || {
            visitor.get("/admin/page.txt").answer.status == 303
        });
        log_in(&mut visitor, "/admin/page.txt", &[("code", &alice().code(1))]);
        assert_eq!(visitor.get("/area/page.txt").answer.status, 200);
        // A challenge for programs, and the page for people.
        let reply = server.send(&Request::get("/api/page.txt"));
        assert_eq!((reply.status(), reply.0.headers_of("WWW-Authenticate").len()), (401, 1));
        assert_eq!(visitor.get("/api/page.txt").answer.status, 200);
        assert_eq!(Visitor::of(server).get("/api/page.txt").answer.status, 303);
        let page = visitor.get("/otp/login");
        visitor.submit(&page, &[]);
        assert_eq!(visitor.get("/area/page.txt").answer.status, 303);
    }

    /// The box that the blocks of the page make the login page have.
    fn computers(page: &Page) {
        let has_box = |server: &Server| {
            let form = server.send(&Request::get("/otp/login").header("Accept", "text/html"));
            let text = form.0.text();
            assert!(text.contains("Ask for no code on this computer for 30 days"), "{text}");
        };
        let users = "{root}/users/area/users";
        let scopes = |directives: String| {
            let area = Scope::bare("area").token(&alice()).directives("");
            vec![area, Scope::bare("otp").of_urls().directives(&directives)]
        };
        let block = page.block("apache", "computers");
        let apache = format!(
            "AuthName area\nOTPAuthUsersFile \"{users}\"\nOTPAuthLoginPage /otp/login\n\
             OTPAuthLingerCookie Insecure\n{block}AuthType OTP\nSetHandler otp-login\n\
             Require all granted"
        );
        has_box(&Server::start(Httpd::event(), scopes(apache)));
        let block = page.block("nginx", "computers");
        let nginx = format!(
            "auth_otp area;\nauth_otp_users_file \"{users}\";\nauth_otp_login_page /otp/login;\n\
             auth_otp_linger_cookie insecure;\nauth_otp_scheme form;\n{block}auth_otp_login;"
        );
        has_box(&Server::start(Nginx::one(), scopes(nginx)));
    }

    pub fn programs(page: &Page) {
        webdav(page);
        apps(page);
        let alice = alice();
        // Machines come in by their address, others by a code.
        let machines = |server: &Server| {
            let ask = |address: &str, login: bool| {
                let request = Request::get("/api/page.txt").from(address);
                server.keep_secret(alice.password(0));
                server.send(&match login {
                    true => request.basic("alice", alice.password(0)),
                    false => request,
                })
            };
            ask("192.0.2.7", false).is_status(200);
            ask("198.51.100.7", false).is_status(401);
            ask("198.51.100.7", true).is(200, "granted-fresh");
        };
        let scope = || Scope::bare("api").token(&alice).directives("Require all granted");
        let these = [("/var/lib/otpgate/users", "{root}/users/api/users")];
        let recipe = page.filled("apache", "machines", &these);
        machines(&Server::start(httpd(&recipe), vec![scope()]));
        let recipe = page.filled("nginx", "machines", &these);
        let server = Server::start(nginx_server(&recipe), vec![scope()]);
        machines(&server);
    }

    /// A program's password, as the page has it made, is good for its path, and users have theirs.
    fn apps(page: &Page) {
        let alice = alice();
        let works = |server: &Server| {
            let script = page.block("sh", "apps");
            let users = server.at("dav").users().path().display().to_string();
            let script = format!("export OTPGATE_USERS_FILE='{users}'\n{script}");
            let password = shell(server.root().path(), &script, "").trim_end().to_owned();
            server.keep_secret(&password);
            let ask = |path: &str, password: &str| {
                server.send(&Request::get(path).basic("alice", password))
            };
            ask("/dav/page.txt", &password).is(200, "granted-app");
            ask("/dav/../dav/page.txt", &password).is(401, "denied-app");
            ask("/dav/page.txt", &alice.password(0)).is(200, "granted-fresh");
        };
        let scope = || Scope::bare("dav").token(&alice).directives("Require all granted");
        let these = [("/var/lib/otpgate/users", "{root}/users/dav/users")];
        let recipe = page.filled("apache", "apps", &these);
        works(&Server::start(httpd(&recipe), vec![scope()]));
        let recipe = page.filled("nginx", "apps", &these);
        works(&Server::start(nginx_server(&recipe), vec![scope()]));
    }

    fn webdav(page: &Page) {
        let these = [USERS, ("/var/lib/apache2/davlock", "{root}/dav/lock")];
        let recipe = page.filled("apache", "webdav", &these);
        let httpd = httpd(&recipe).file("htdocs/dav/old.txt", PAGE_TEXT).file("dav/here", "");
        let server = Server::start(httpd, vec![area()]);
        for folder in ["htdocs/dav", "dav"] {
            root::give_to_server(&server.root().join(folder));
        }
        let alice = alice();
        server.keep_secret(alice.password(0));
        let ask = |method: &'static str, path: &str, body: &str| {
            let request = Request::get(path).method(method).header("Depth", "1").body(body);
            server.send(&request.from("192.0.2.7").basic("alice", alice.password(0)))
        };
        let listed = ask("PROPFIND", "/dav/", "");
        assert_eq!((listed.status(), listed.result()), (207, "granted-fresh"), "{listed:?}");
        assert!(listed.0.text().contains("/dav/old.txt"), "{listed:?}");
        let put = ask("PUT", "/dav/new.txt", "new");
        assert_eq!((put.status(), put.result()), (201, "granted-reuse"), "{put:?}");
        assert_eq!(ask("GET", "/dav/new.txt", "").0.text(), "new");
        // Bound to its address.
        let other = Request::get("/dav/new.txt").from("198.51.100.7");
        server.send(&other.basic("alice", alice.password(0))).is(401, "denied-ip");
    }

    /// A certificate for www.example.com by openssl, and its key.
    fn certificate() -> [Vec<u8>; 2] {
        common::require("/usr/bin/openssl");
        let folder = Root::new();
        shell(
            folder.path(),
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
             -subj /CN=www.example.com -addext subjectAltName=DNS:www.example.com \
             -keyout key -out certificate 2>&1",
            "",
        );
        ["certificate", "key"].map(|name| fs::read(folder.join(name)).expect("openssl's file"))
    }

    pub fn tls(page: &Page) {
        common::require("/usr/bin/curl");
        let [certificate, key] = certificate();
        let files = [
            USERS,
            ("/var/www/otp", "{root}/htdocs/area"),
            ("/etc/ssl/www.example.com.pem", "{root}/certificate"),
            ("/etc/ssl/www.example.com.key", "{root}/key"),
        ];
        let alice = alice();
        let works = |server: &Server| {
            let (plain, tls) = (server.port(), server.other_port());
            let curl = |url: &str, login: &str| {
                // The password isn't on the command line.
                let script = format!(
                    "curl --silent --show-error --include --config - --cacert {} \
                     --resolve www.example.com:{plain}:127.0.0.1 \
                     --resolve www.example.com:{tls}:127.0.0.1 {url}",
                    server.root().join("certificate").display()
                );
                shell(server.root().path(), &script, login)
            };
            let answer = curl(&format!("http://www.example.com:{plain}/page.txt?x"), "");
            assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
            let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
            assert_eq!(location, Some("https://www.example.com/page.txt?x"), "{answer}");
            let https = format!("https://www.example.com:{tls}/page.txt");
            let hsts = "Strict-Transport-Security: max-age=31536000";
            let answer = curl(&https, "");
            assert!(answer.contains(" 401 ") && answer.contains(hsts), "{answer}");
            let challenge = ".well-known/acme-challenge/token";
            let answer = curl(&https.replace("page.txt", challenge), "");
            assert!(answer.contains(" 200 ") && answer.contains(PAGE_TEXT), "{answer}");
            server.keep_secret(alice.password(0));
            let answer = curl(&https, &format!("user = \"alice:{}\"\n", alice.password(0)));
            assert!(answer.contains(" 200 ") && answer.contains(PAGE_TEXT), "{answer}");
            assert!(answer.contains(hsts), "{answer}");
        };
        let scope = || Scope::bare("area").token(&alice).directives("Require all granted");
        // The tests' own port is the plain one.
        let these = [("*:80>", "127.0.0.1:{port}>"), ("*:443>", "127.0.0.1:{other_port}>")];
        let recipe = page.filled("apache", "tls", &[&files[..], &these].concat());
        // Inside of the second host, behind what protects it.
        let (before, end) = recipe.rsplit_once("</VirtualHost>").expect("a virtual host");
        let recipe = [before, page.block("apache", "acme"), "</VirtualHost>", end].concat();
        let httpd = httpd(&recipe)
            .directives("Listen 127.0.0.1:{other_port}\nLogLevel ssl:error")
            .file("certificate", &certificate)
            .file("key", &key)
            .file("htdocs/area/.well-known/acme-challenge/token", PAGE_TEXT);
        works(&Server::start(httpd, vec![scope()]));

        // nginx takes the port of the tests away from their own server.
        let these = [
            ("listen 80;", "listen 127.0.0.1:{port};"),
            ("listen 443 ssl;", "listen 127.0.0.1:{other_port} ssl;"),
        ];
        let recipe = page.filled("nginx", "tls", &[&files[..], &these].concat());
        let (before, end) = recipe.rsplit_once('}').expect("a server");
        let recipe = [before, page.block("nginx", "acme"), "}", end].concat();
        let nginx = Nginx::one()
            .without_locations()
            .directives(&recipe)
            .file("certificate", &certificate)
            .file("key", &key)
            .file("htdocs/area/.well-known/acme-challenge/token", PAGE_TEXT);
        works(&Server::start(nginx, vec![scope()]));
    }

    /// Logins of a server whose log the recipe writes.
    fn logins(server: &Server) -> String {
        let place = server.at("area");
        let (alice, bob) = (alice(), bob());
        place.send(Request::get(place.path("page.txt"))).is_status(401);
        place.login_from("192.0.2.7", "alice", alice.password(0)).is(200, "granted-fresh");
        place.login_from("192.0.2.7", "alice", alice.password(0)).is(200, "granted-reuse");
        place.login_from("192.0.2.7", "alice", alice.password(1)).is(200, "granted-fresh");
        place.login_from("192.0.2.8", "bob", bob.password(0)).is(200, "granted-fresh");
        place.login_from("198.51.100.7", "alice", "wrong-pin755224").is(401, "denied-pin");
        let log = server.root().join("otp.log");
        let text = || fs::read_to_string(&log).unwrap_or_default();
        let is_complete = |text: &str| {
            let fresh = text.matches(" granted-fresh ").count();
            fresh == 3 && text.contains(" granted-reuse ") && text.contains(" denied-pin ")
        };
        // Written when the answer is out already.
        common::wait_until("all is logged", || is_complete(&text()));
        text()
    }

    pub fn logging(page: &Page) {
        let scope = || Scope::new("area").token(&alice()).token(&bob());
        let both = |language: &str, folder: &str| {
            let here = |name: &str| format!("{{root}}/{name}");
            let log =
                page.filled(language, "log", &[(&format!("{folder}otp.log"), &here("otp.log"))]);
            let name = "otp-logins.log";
            let logins =
                page.filled(language, "logins", &[(&format!("{folder}{name}"), &here(name))]);
            log + &logins
        };
        for server in [
            Server::start(httpd(&both("apache", "/var/log/apache2/")), vec![scope()]),
            Server::start(
                Nginx::one().directives(&both("nginx", "/var/log/nginx/")),
                vec![scope()],
            ),
        ] {
            let log = logins(&server);
            assert_eq!(log.lines().count(), 5, "one for each login and refusal:\n{log}");
            let folder = server.root().path();
            let each = || fs::read_to_string(folder.join("otp-logins.log")).unwrap_or_default();
            common::wait_until("all logins are logged", || each().lines().count() == 3);
            let each = each();
            let mut names: Vec<&str> =
                each.lines().filter_map(|line| line.split('"').nth(1)).collect();
            // Processes of a server write their lines as they come to it.
            names.sort_unstable();
            assert_eq!(names, ["alice", "alice", "bob"], "{each}");
            let here = [("/var/log/*/otp.log", "otp.log")];
            // An old line, which doesn't count.
            let old = "2020-01-01T00:00:00+0000 192.0.2.7 granted-fresh 200 \"bob\" \"GET /\"\n";
            fs::write(folder.join("otp.log"), format!("{old}{log}")).expect("the log");
            let week = shell(folder, &page.filled("sh", "week", &here), "");
            assert_eq!(week, "2 alice\n1 bob\n");
            let refusals = shell(folder, &page.filled("sh", "refusals", &here), "");
            assert_eq!(refusals.trim(), "1 denied-pin 198.51.100.7");
            let list = page.filled("sh", "idle", &[("otpgate", "otpgate -f users/area/users")]);
            let listed = shell(folder, &list, "");
            assert!(listed.contains("alice") && listed.contains("LAST LOGIN"), "{listed}");
        }
    }

    pub fn monitoring(page: &Page) {
        let server = Server::start(
            Nginx::one()
                .directives("log_format otp '- - $auth_otp_result $status';")
                .directives("access_log {root}/otp.log otp;"),
            vec![Scope::new("area").token(&alice()).token(&bob())],
        );
        let _ = logins(&server);
        let folder = server.root().path();
        let these = [("/var/log/*/otp.log", "otp.log"), ("/var/lib/node_exporter/", "")];
        shell(folder, &page.filled("sh", "metrics", &these), "");
        let figures = fs::read_to_string(folder.join("otpgate.prom")).expect("figures");
        for line in [
            "{result=\"granted-fresh\"} 3\n",
            "{result=\"denied-pin\"} 1\n",
            "# TYPE otpgate_requests",
        ] {
            assert!(figures.contains(line), "{figures}");
        }
        let command = ("otpgate ", "otpgate -f users/area/users ");
        let check = page.filled("sh", "check", &[command]);
        assert_eq!(shell(folder, &check, ""), "");
        let locked = page.filled("sh", "locked", &[command]);
        assert_eq!(shell(folder, &locked, "").trim(), "0");
        let place = server.at("area");
        for code in alice().wrong_codes(10) {
            place.login("alice", alice().with(&code)).is(401, "denied-code");
        }
        assert_eq!(shell(folder, &locked, "").trim(), "1");
        place.users().append("HOTP/X carol - 00\n");
        let said = shell(folder, &check, "");
        assert!(said.contains("line 3"), "{said}");
    }

    pub fn backup(page: &Page) {
        let server =
            Server::start(Nginx::one(), vec![Scope::new("area").token(&alice()).token(&bob())]);
        let place = server.at("area");
        let folder = server.root().path();
        let these = [("/var/lib/otpgate/users", "users/area/users"), ("/var/backups/", "")];
        place.login("alice", alice().password(0)).is(200, "granted-fresh");
        let backup = page.filled("sh", "backup", &these);
        shell(folder, &backup, "");
        assert_eq!(fs::read(folder.join("otpgate-users")).expect("a copy"), place.users().bytes());

        place.login("alice", alice().password(1)).is(200, "granted-fresh");
        place.login("bob", bob().password(0)).is(200, "granted-fresh");
        let command = |verb| format!("otpgate -f users/area/users {verb}");
        let (advance, check) = (command("advance"), command("check"));
        let server_user = (
            "runuser -u www-data -- ",
            if common::is_root() { "runuser -u www-data -- " } else { "" },
        );
        let these = [
            these[0],
            these[1],
            server_user,
            ("otpgate advance", &advance),
            ("otpgate check", &check),
        ];
        shell(folder, &page.filled("sh", "restore", &these), "");
        // Neither what was used before the backup nor what was used since.
        for (user, token) in [("alice", alice()), ("bob", bob())] {
            for code in 0..3 {
                place.login(user, token.password(code)).is_denied();
            }
            place.login(user, token.password(101)).is(200, "granted-fresh");
        }
        server.tolerate_log("replaced by an older state");
    }

    pub fn migrate(page: &Page) {
        let folder = Root::new();
        let alice = alice();
        fs::write(folder.join("users"), "").expect("a users file");
        let hex = "3132333435363738393031323334353637383930";
        folder.write("users.oath", format!("HOTP alice - {hex} 4 755224 2026-11-30T10:00:00L\n"));
        let base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let google = format!("{base32}\n\" TOTP_AUTH\n12345678\n");
        folder.write("home/bob/.google_authenticator", &google);
        folder.write("home/carol/.google_authenticator", &google);
        let command = ("otpgate import", "otpgate -f users import");
        let these = [command, ("/etc/users.oath", "users.oath")];
        shell(folder.path(), &page.filled("sh", "liboath", &these), "");
        let these = [command, ("/home/alice", "home/bob"), ("--user alice", "--user bob")];
        shell(folder.path(), &page.filled("sh", "google", &these), "");
        fs::remove_file(folder.join("home/bob/.google_authenticator")).expect("done");
        let these = [command, ("/home/*", "home/*")];
        shell(folder.path(), &page.filled("sh", "google-all", &these), "");
        let verify = "otpgate -f users verify --dry-run";
        // What was accepted there isn't accepted here once more: the next is counter 5.
        let said = shell(folder.path(), &format!("{verify} alice"), &alice.code(5));
        assert!(said.contains("granted-fresh"), "{said}");
        let said = shell(folder.path(), &format!("{verify} alice || true"), &alice.code(4));
        assert!(said.contains("denied"), "{said}");
        let phone = Token::totp("bob");
        for user in ["bob", "carol"] {
            let said = shell(folder.path(), &format!("{verify} {user}"), &phone.code(phone.step()));
            assert!(said.contains("granted-fresh"), "{said}");
        }
    }

    pub fn several_servers(page: &Page) {
        let these =
            [USERS, ("192.0.2.20:8080", "127.0.0.1:{other_port}"), ("192.0.2.0/24", "127.0.0.1")];
        let recipe = page.filled("nginx", "decides", &these);
        let decides =
            Server::start(Nginx::one().without_locations().directives(&recipe), vec![area()]);
        let backend = Backend::start();
        let (hub, application) = (
            format!("127.0.0.1:{}", decides.other_port()),
            format!("127.0.0.1:{}", backend.port()),
        );
        let these = [("192.0.2.20:8080", &*hub), ("127.0.0.1:3000", &*application)];
        let recipe = page.filled("nginx", "front", &these);
        // Clients come from where another header says, so that their own X-Forwarded-For is a lie.
        let front = || {
            let nginx = nginx_server(&recipe).server_directives("real_ip_header X-Client;");
            Server::start(nginx, vec![Scope::bare("none")])
        };
        let (first, second) = (front(), front());
        let alice = alice();
        let ask = |server: &Server, address: &str, password: String| {
            server.keep_secret(&password);
            decides.keep_secret(&password);
            let request = Request::get("/private/page").header("X-Client", address);
            server.send(&request.from("203.0.113.9").basic("alice", password))
        };
        let refused = ask(&first, "192.0.2.7", alice.with(&alice.wrong_code()));
        assert_eq!(refused.status(), 401, "{refused:?}");
        assert!(refused.0.header("WWW-Authenticate").is_some(), "{refused:?}");
        assert!(backend.take_headers().is_empty());
        ask(&first, "192.0.2.7", alice.password(0)).is_status(200);
        // The same client may go on elsewhere; another one may not.
        ask(&second, "192.0.2.7", alice.password(0)).is_status(200);
        ask(&second, "198.51.100.7", alice.password(0)).is_denied();
        assert_eq!(decides.at("area").users().address("alice"), "192.0.2.7");
        let seen = backend.take_headers();
        assert_eq!(seen.len(), 2);
        for headers in seen {
            let value = |name: &str| headers.iter().find(|(known, _)| known == name);
            assert_eq!(value("X-Remote-User").map(|(_, user)| user.as_str()), Some("alice"));
            assert_eq!(value("Authorization"), None);
        }
    }

    /// Tables alone.
    pub fn troubleshooting(_: &Page) {}

    // Nothing of these runs here: each block says so, and the page when it was tried.

    pub fn pins_ldap(_: &Page) {}

    pub fn pins_pam(_: &Page) {}

    pub fn containers(_: &Page) {}

    pub fn confinement(_: &Page) {}

    pub fn upgrade(_: &Page) {}
}
