//! How a server comes from one place to another, for httpd and for nginx.

use super::places::{Kind, Place, mark};

/// How the inner place is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// As a part of the request that was asked about before.
    Within,
    /// As a request of its own that comes after.
    After,
    /// It is no part of the place that the client asks for, but that itself.
    Itself,
    /// For what no documentation says that it works.
    Never,
}

pub struct Way {
    pub name: &'static str,
    pub asked: Asked,
    /// The inner place is at a path within the outer one.
    pub is_at_outer_path: bool,
    /// The inner place is written down by somebody who may not set everything.
    pub is_by_author: bool,
    lay: fn(&Passage<'_>) -> Laid,
}

/// From one place to another on a way.
pub struct Passage<'a> {
    pub kind: Kind,
    pub outer: &'a Place,
    pub inner: &'a Place,
    pub way: &'a Way,
}

/// What is made for a passage.
#[derive(Default)]
pub struct Laid {
    /// In the outer place's section (nginx), or beside all sections (httpd).
    pub section: String,
    /// Beside all locations of nginx.
    pub server: String,
    /// Below the document root, with what they hold. `{port}` is the server's.
    pub files: Vec<(String, String)>,
    /// A file that is only asked for on the same connection before.
    pub first: Option<String>,
    pub path: String,
    /// What is seen if the inner place lets in; else its page's text.
    pub shown: Option<String>,
}

impl Passage<'_> {
    pub fn laid(&self) -> Laid {
        (self.way.lay)(self)
    }

    /// The directory of the passage, with slashes around.
    fn at(&self) -> String {
        format!("/{}/{}-{}/", self.outer.name, self.way.name, self.inner.name)
    }

    fn inner_page(&self) -> String {
        format!("/{}/inner.txt", self.inner.name)
    }

    fn inner_directives(&self) -> String {
        self.inner.directives(self.kind, self.way.is_by_author)
    }

    /// A page with the inner one as its part.
    fn including(&self, what: &str) -> String {
        format!("a part: <!--#include virtual=\"{what}\" -->")
    }
}

/// By a file of httpd's for directories.
fn by_file(passage: &Passage<'_>, asked_for: &str, directives: &str) -> Laid {
    let at = passage.at();
    let directives = directives.replace("INNER", &passage.inner_page());
    Laid {
        files: vec![
            (format!("{at}.htaccess"), directives + "\n"),
            (format!("{at}page.txt"), "nothing much".to_owned()),
        ],
        path: at + asked_for,
        ..Laid::default()
    }
}

/// By a file in the outer place's directory that belongs to the inner place.
fn nested(passage: &Passage<'_>, file: &str, asked_for: &str, around: [&str; 2]) -> Laid {
    let at = passage.at();
    let [begin, end] = around.map(|text| text.replace("AT", &at));
    Laid {
        section: format!("{begin}\n{}{end}\n", passage.inner_directives()),
        files: vec![(format!("{at}{file}"), mark(passage.inner))],
        path: at + asked_for,
        ..Laid::default()
    }
}

/// By a location of nginx's within the outer one.
fn by_location(passage: &Passage<'_>, asked_for: &str, directives: &str) -> Laid {
    let at = passage.at();
    let directives = directives
        .replace("INNER", &passage.inner_page())
        .replace("PLACE", passage.inner.name)
        .replace("AT", &at);
    Laid {
        section: format!("location {at} {{\n{directives}\n}}\n"),
        files: vec![
            (format!("{at}page.txt"), "nothing much".to_owned()),
            (format!("{at}part.txt"), passage.including(&passage.inner_page())),
        ],
        path: at + asked_for,
        ..Laid::default()
    }
}

const WITHIN: Way = Way {
    name: "",
    asked: Asked::Within,
    is_at_outer_path: false,
    is_by_author: false,
    lay: |_| Laid::default(),
};

const fn within(name: &'static str, lay: fn(&Passage<'_>) -> Laid) -> Way {
    Way { name, lay, ..WITHIN }
}

const fn itself(name: &'static str, lay: fn(&Passage<'_>) -> Laid) -> Way {
    Way { name, lay, asked: Asked::Itself, is_at_outer_path: true, ..WITHIN }
}

const fn after(name: &'static str, lay: fn(&Passage<'_>) -> Laid) -> Way {
    Way { name, lay, asked: Asked::After, ..WITHIN }
}

const fn never(name: &'static str, lay: fn(&Passage<'_>) -> Laid) -> Way {
    Way { name, lay, asked: Asked::Never, ..WITHIN }
}

fn same_connection(passage: &Passage<'_>) -> Laid {
    Laid {
        first: Some(format!("/{}/page.txt", passage.outer.name)),
        path: passage.inner_page(),
        ..Laid::default()
    }
}

const HTTPD: [Way; 19] = [
    within("part", |passage| {
        let mut laid = by_file(passage, "part.shtml", "");
        let file = (laid.path.clone(), passage.including(&passage.inner_page()));
        laid.files.push(file);
        laid
    }),
    within("partgo", |passage| {
        let mut laid = by_file(passage, "part.shtml", "RewriteEngine On\nRewriteRule ^go$ INNER");
        let file = (laid.path.clone(), passage.including(&format!("{}go", passage.at())));
        laid.files.push(file);
        laid
    }),
    within("rewritten", |passage| {
        by_file(passage, "go", "RewriteEngine On\nRewriteRule ^go$ INNER")
    }),
    within("index", |passage| by_file(passage, "", "DirectoryIndex INNER")),
    within("missing", |passage| by_file(passage, "nowhere", "ErrorDocument 404 INNER")),
    within("forbidden", |passage| {
        let directives = "ErrorDocument 403 INNER\nRewriteEngine On\nRewriteRule ^go$ - [F]";
        by_file(passage, "go", directives)
    }),
    within("fallback", |passage| by_file(passage, "nowhere", "FallbackResource INNER")),
    within("action", |passage| {
        let directives =
            "Action to-inner INNER\n<Files \"page.txt\">\nSetHandler to-inner\n</Files>";
        by_file(passage, "page.txt", directives)
    }),
    never("refused", |passage| by_file(passage, "page.txt", "ErrorDocument 401 INNER")),
    Way {
        is_at_outer_path: false,
        ..itself("passed", |passage| {
            let path = format!("{}go", passage.at());
            let section = format!("RewriteRule \"^{path}$\" \"{}\" [PT]\n", passage.inner_page());
            Laid { section, path, ..Laid::default() }
        })
    },
    itself("alias", |passage| {
        let (at, inner) = (passage.at(), passage.inner.name);
        let section = format!("Alias \"{at}\" \"{{root}}/htdocs/{inner}/\"\n");
        Laid { section, path: at + "inner.txt", ..Laid::default() }
    }),
    itself("files", |passage| {
        let around =
            ["<Directory \"{root}/htdocsAT\">\n<Files \"inner.txt\">", "</Files>\n</Directory>"];
        nested(passage, "inner.txt", "inner.txt", around)
    }),
    itself("location", |passage| {
        nested(passage, "inner.txt", "inner.txt", ["<Location \"AT\">", "</Location>"])
    }),
    itself("if", |passage| {
        let around = ["<Directory \"{root}/htdocsAT\">\n<If \"true\">", "</If>\n</Directory>"];
        nested(passage, "inner.txt", "inner.txt", around)
    }),
    Way {
        is_by_author: true,
        ..itself("author", |passage| {
            let mut laid = by_file(passage, "inner.txt", &passage.inner_directives());
            laid.files.push((laid.path.clone(), mark(passage.inner)));
            laid
        })
    },
    Way {
        is_at_outer_path: true,
        ..within("views", |passage| {
            let around =
                ["<Directory \"{root}/htdocsAT\">\n<Files \"doc.txt\">", "</Files>\n</Directory>"];
            nested(passage, "doc.txt", "doc", around)
        })
    },
    Way {
        is_at_outer_path: true,
        ..within("listed", |passage| {
            let around = [
                "<Directory \"{root}/htdocsAT\">\n<Files \"listed.txt\">",
                "</Files>\n</Directory>",
            ];
            let shown = Some("listed.txt".to_owned());
            Laid { shown, ..nested(passage, "listed.txt", "", around) }
        })
    },
    after("proxy", |passage| {
        let rule = "RewriteEngine On\nRewriteRule ^go$ http://127.0.0.1:{port}INNER [P]";
        by_file(passage, "go", rule)
    }),
    after("next", same_connection),
];

const NGINX: [Way; 18] = [
    within("part", |passage| by_location(passage, "part.txt", "")),
    within("partgo", |passage| {
        let mut laid = by_location(passage, "page.txt", "error_page 404 =200 INNER;");
        laid.files.retain(|file| !file.0.ends_with("page.txt"));
        let part = passage.including(&format!("{}nowhere", passage.at()));
        laid.files.push((laid.path.clone(), part));
        laid
    }),
    within("partany", |passage| by_location(passage, "part.txt", "satisfy any;\ndeny all;")),
    within("missing", |passage| by_location(passage, "nowhere", "error_page 404 =200 INNER;")),
    within("forbidden", |passage| by_location(passage, "", "error_page 403 =200 INNER;")),
    within("index", |passage| by_location(passage, "", "index INNER;")),
    within("tried", |passage| by_location(passage, "any", "try_files /nowhere INNER;")),
    within("accel", |passage| {
        by_location(passage, "any", "proxy_pass http://127.0.0.1:{other_port}/PLACE/;")
    }),
    within("before", |passage| by_location(passage, "page.txt", "add_before_body INNER;")),
    within("behind", |passage| by_location(passage, "page.txt", "add_after_body INNER;")),
    Way {
        is_at_outer_path: true,
        ..within("named", |passage| {
            let name = format!("@{}-{}", passage.outer.name, passage.inner.name);
            let laid = by_location(passage, "nowhere", &format!("error_page 404 = {name};"));
            let inner = passage.inner_directives();
            let page = passage.inner_page();
            let server = format!("location {name} {{\n{inner}rewrite ^ {page} break;\n}}\n");
            Laid { server, ..laid }
        })
    },
    never("refused", |passage| by_location(passage, "page.txt", "error_page 401 INNER;")),
    never("asks", |passage| {
        let mut laid = by_location(passage, "page.txt", "auth_request INNER;");
        laid.files[0].1 = mark(passage.inner);
        laid
    }),
    Way {
        is_at_outer_path: false,
        ..itself("passed", |passage| by_location(passage, "any", "rewrite ^ INNER last;"))
    },
    itself("location", |passage| nested(passage, "inner.txt", "inner.txt", ["location AT {", "}"])),
    itself("methods", |passage| {
        let around = ["location AT {\nlimit_except POST {", "}\n}"];
        nested(passage, "inner.txt", "inner.txt", around)
    }),
    after("proxy", |passage| {
        let directives =
            "proxy_pass http://127.0.0.1:{port}/PLACE/;\nproxy_set_header Host $http_host;";
        by_location(passage, "inner.txt", directives)
    }),
    after("next", same_connection),
];

impl Kind {
    pub fn ways(self) -> &'static [Way] {
        match self {
            Kind::Httpd => &HTTPD,
            Kind::Nginx => &NGINX,
        }
    }
}
