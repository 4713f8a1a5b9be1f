# otpgate: `make build`, then `make install` (DESTDIR=, PREFIX=, LIBEXECDIR= and SYSCONFDIR= are honoured); `make deb` for
# packages.

CARGO ?= cargo
CARGO_FLAGS ?=
APXS ?= $(firstword $(shell command -v apxs apxs2 2>/dev/null))
BUILD ?= build

# Cargo reads a relative CARGO_TARGET_DIR from the environment as relative to where it runs: here.
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
RELEASE := $(CARGO_TARGET_DIR)/release
# What servers load is kept apart: see the profile in Cargo.toml.
LIBRARY := $(CARGO_TARGET_DIR)/server/libotpgate

# The same sources make the same modules wherever they lie, and no path of this machine gets into them. The command shares
# its crates with `cargo test`, which knows nothing of these flags and would build all of them anew, so for the command
# they are left out unless COMMAND_REMAP= asks for them, as packages do.
CARGO_HOME ?= $(HOME)/.cargo
REMAP = --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_TARGET_DIR)=target \
	--remap-path-prefix=$(CARGO_HOME)=cargo
PREFIX_MAP = -ffile-prefix-map=$(CURDIR)=.

# CI sets -Werror; elsewhere a newer compiler's new warnings mustn't stop a build.
WERROR ?=

# What the servers of distributions are built with, as far as the compiler has it.
cc_has = $(shell $(CC) -Werror $(1) -x c -c -o /dev/null /dev/null 2>/dev/null && echo '$(1)')
HARDENING ?= $(foreach flag,-fstack-protector-strong -fstack-clash-protection -fcf-protection \
	-mbranch-protection=standard,$(call cc_has,$(flag))) -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2

# The modules zero some hundred bytes for each request. gcc would do so word by word, which takes longer than the C library.
ZEROING ?= $(call cc_has,-mmemset-strategy=libcall:-1:noalign)

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DOCDIR ?= $(PREFIX)/share/doc/otpgate
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
# fail2ban reads its configuration from /etc alone, wherever otpgate itself is.
SYSCONFDIR ?= /etc
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
WEBPAGESDIR ?= $(PREFIX)/share/otpgate/pages

APACHE_MODULE := $(BUILD)/mod_authn_otp.so
NGINX_MODULE := $(BUILD)/ngx_http_auth_otp_module.so

.PHONY: build rust need-rust rust-libs pages apache need-apxs nginx need-nginx clean
.DELETE_ON_ERROR:

# First of all, so that nobody waits for the Rust build to learn what is missing.
build: need-rust need-apxs need-nginx rust pages apache nginx

# ---- Rust: the library, static and shared, and the command ---------------------------------------------

# Cargo alone knows what is out of date. Two builds: in one, the library would have its crates with the features that the
# command asks for.
rust: need-rust
	RUSTFLAGS='$(strip $(RUSTFLAGS) $(REMAP))' $(CARGO) build --profile server -p otpgate $(CARGO_FLAGS)
	$(if $(COMMAND_REMAP),RUSTFLAGS='$(strip $(RUSTFLAGS) $(REMAP))') $(CARGO) build --release -p otpgate-cli $(CARGO_FLAGS)

RUST_PACKAGES = Debian 12 and 13: rustc-web cargo-web; Ubuntu 24.04: rustc-1.89 cargo-1.89 or higher numbers
RUST_VERSION = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
need-rust:
	@found=$$($${RUSTC:-rustc} --version 2>/dev/null | sed 's/^rustc \([0-9.]*\).*/\1/'); \
	[ "$$(printf '%s\n' $(RUST_VERSION) "$${found:-0}" | sort -V | head -n 1)" = $(RUST_VERSION) ] || { \
	echo "Rust $(RUST_VERSION) or newer is needed, and here is $${found:-none}. Packages that are new enough:" \
	"$(RUST_PACKAGES). Or https://rustup.rs" >&2; exit 1; }

$(LIBRARY).a: | rust ;

# What has to be linked with libotpgate.a; a test compares it with what rustc says. nginx/config and the tests ask here.
RUST_LIBS = -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

rust-libs:
	@echo $(RUST_LIBS)

# Man pages and completions say what the command says of itself: they are written by a program of the same build.
pages: rust
	rm -rf $(BUILD)/pages
	$(RELEASE)/otpgate-pages $(BUILD)/pages

# ---- Apache module -------------------------------------------------------------------------------------

apache: $(APACHE_MODULE)

need-apxs:
	@: $(apxs)

# Asked when they are used, so that targets that don't need apxs run without it.
apxs = $(or $(APXS),$(error apxs not found: install the package apache2-dev (Debian, Ubuntu) or httpd-devel (Fedora, RHEL), or set APXS=))
apxs_q = $(shell $(apxs) -q $(1))
apr_config = $(or $(call apxs_q,APR_CONFIG),apr-1-config)
LIBEXECDIR ?= $(call apxs_q,LIBEXECDIR)
# Where `a2enmod` looks for modules, if the distribution has that.
MODS_AVAILABLE ?= $(wildcard $(call apxs_q,SYSCONFDIR)/mods-available)

SHIM_CFLAGS = $(call apxs_q,CFLAGS) $(CFLAGS) -fPIC -Wall -Wextra $(WERROR) -ffunction-sections -fdata-sections \
	$(PREFIX_MAP) $(CPPFLAGS) $(HARDENING) $(ZEROING) -Iinclude -isystem $(call apxs_q,INCLUDEDIR) \
	$(shell $(apr_config) --includes --cppflags) $(shell $(apr_config) --cflags)

# No -z defs: the server's own symbols are resolved at load time.
SHIM_LDFLAGS = $(LDFLAGS) -shared -Wl,--version-script=apache/exports.map -Wl,--gc-sections -Wl,-z,relro,-z,now

$(BUILD)/mod_authn_otp.o: apache/mod_authn_otp.c include/otpgate.h Makefile
	@mkdir -p $(@D)
	$(CC) $(SHIM_CFLAGS) -c -o $@ $<

# A function that the header promises and the library lacks would otherwise show when the server starts.
$(APACHE_MODULE): $(BUILD)/mod_authn_otp.o $(LIBRARY).a apache/exports.map Makefile
	$(CC) $(SHIM_LDFLAGS) -o $@ $< $(LIBRARY).a $(RUST_LIBS)
	@if nm -D --undefined-only $@ | grep ' otpgate_'; then echo 'not in libotpgate.a: see above' >&2; exit 1; fi

# ---- nginx module --------------------------------------------------------------------------------------
# A module fits one version of nginx. Debian's nginx-dev has that version's headers and the flags it was
# configured with; configure makes from them the two headers that say what is compiled in. For a build of
# nginx from source, see nginx/config.

NGINX_SRC ?= /usr/share/nginx/src
NGINX_MODULES_DIR ?= /usr/lib/nginx/modules
# A folder whose files nginx.conf includes at its top, if the distribution has one.
NGINX_MODULES_ENABLED ?= $(wildcard /etc/nginx/modules-enabled)
NGINX_OBJS := $(BUILD)/nginx

nginx: $(NGINX_MODULE)

need-nginx:
	@test -e '$(NGINX_SRC)/conf_flags' || { echo '$(NGINX_SRC)/conf_flags not found: install the package nginx-dev (Debian 12, Ubuntu 24.04 or newer), or set NGINX_SRC=; `make rust apache` builds for Apache alone' >&2; exit 1; }

# Arrays are bash's. configure looks for sources in its own directory and writes to the other alone.
$(NGINX_OBJS)/ngx_auto_config.h: $(NGINX_SRC)/conf_flags $(NGINX_SRC)/configure
	@mkdir -p $(@D)
	cd $(NGINX_SRC) && bash -c '. ./conf_flags && ./configure "$${NGX_CONF_FLAGS[@]}" --builddir=$(abspath $(NGINX_OBJS))' \
		> $(abspath $(BUILD))/nginx-configure.log || { tail $(abspath $(BUILD))/nginx-configure.log >&2; exit 1; }

NGINX_CFLAGS = -O2 -g $(CFLAGS) -fPIC -Wall -Wextra $(WERROR) -ffunction-sections -fdata-sections $(PREFIX_MAP) \
	$(CPPFLAGS) $(HARDENING) $(ZEROING) -Iinclude \
	$(addprefix -isystem ,$(NGINX_OBJS) $(addprefix $(NGINX_SRC)/src/,core event event/modules event/quic os/unix \
	http http/modules http/v2 http/v3))

NGINX_LDFLAGS = $(LDFLAGS) -shared -Wl,--version-script=nginx/exports.map -Wl,--gc-sections -Wl,-z,relro,-z,now

$(BUILD)/nginx-%.o: nginx/%.c include/otpgate.h $(NGINX_OBJS)/ngx_auto_config.h Makefile
	$(CC) $(NGINX_CFLAGS) -c -o $@ $<

$(NGINX_MODULE): $(BUILD)/nginx-ngx_http_auth_otp_module.o $(BUILD)/nginx-modules.o $(LIBRARY).a \
		nginx/exports.map Makefile
	$(CC) $(NGINX_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARY).a $(RUST_LIBS)
	@if nm -D --undefined-only $@ | grep ' otpgate_'; then echo 'not in libotpgate.a: see above' >&2; exit 1; fi

# ---- test, demo, bench, deps ---------------------------------------------------------------------------

.PHONY: deps demo-deps test-deps test matrix torture rebuild fuzz schedules memcheck analyze sanitize demo bench bench-check soak

# Debian's names. A server that is only built on needs the first line and no more; .ci/deps says which of the others are
# missing, and what each group is for. apache2-bin is the server without the package that starts it on port 80.
BUILD_DEPS = 'the modules are compiled: gcc libc6-dev apache2-bin apache2-dev nginx-dev'
DEMO_DEPS = $(BUILD_DEPS) \
	'servers run: nginx util-linux'
TEST_DEPS = $(DEMO_DEPS) \
	'what other programs make of PINs, codes and keys: apache2-utils oathtool openssl pskctool' \
	'QR codes and sheets are drawn and read: librsvg2-bin zbar-tools poppler-utils' \
	'clients log in: chromium firefox-esr curl wget python3-requests python3-websockets' \
	'file systems, access lists, attributes: acl e2fsprogs mount' \
	'the C interface is read, and its header as C++: libclang-dev g++' \
	'what is exported, and what is asked of the system: binutils strace' \
	'guessers are banned: python3' \
	'clocks are wrong: libfaketime' \
	'shells complete names, and man pages are checked: fish groff mandoc zsh'

# Installed, fail2ban would start with the machine and change its firewall. Its files are all that the tests need.
FAIL2BAN := $(BUILD)/fail2ban

deps:
	@.ci/deps $(BUILD_DEPS)

test-deps:
	@.ci/deps $(TEST_DEPS)
	@.ci/unpack $(FAIL2BAN) fail2ban

demo-deps:
	@.ci/deps $(DEMO_DEPS)

# Make itself again, because what is missing before `test-deps` has run is only seen by a new one.
test: test-deps
	+$(MAKE) --no-print-directory build
	$(CARGO) test --release --workspace --doc $(CARGO_FLAGS)
	$(CARGO) test --release --workspace --lib --bins --tests $(CARGO_FLAGS)
	OTPGATE_SCHEDULES=2000 $(MAKE) --no-print-directory schedules

# An hour of both servers, the command and editors on one users file, with processes shot, files taken away, a full disk and
# wrong clocks, all of it compared with a model; before it, the races many times over. OTPGATE_TORTURE_SECONDS= is another
# time, OTPGATE_TEST_SEED= another seed.
torture: export OTPGATE_TORTURE_SECONDS ?= 3600
torture: export OTPGATE_TEST_ROUNDS = 100
torture: test-deps
	+$(MAKE) --no-print-directory build
	$(CARGO) test --release --workspace --test races --test command_and_servers --test busy $(CARGO_FLAGS)
	$(CARGO) test --release --workspace --test torture $(CARGO_FLAGS) -- --nocapture

# An hour of power cuts in recordings of real servers, commands and editors. OTPGATE_REBUILD_SECONDS= is another time.
rebuild: export OTPGATE_REBUILD_SECONDS ?= 3600
rebuild: test-deps
	+$(MAKE) --no-print-directory build
	$(CARGO) test --release --workspace --test rebuild $(CARGO_FLAGS) -- --nocapture

# libFuzzer on the bodies in fuzz/, each for FUZZ_SECONDS: FUZZ_TARGETS= names some of them. It begins with fuzz/corpus and
# what it has found before, which is kept in build/fuzz; bytes at which something doesn't hold are put into
# build/fuzz/found, and end it. Any Rust will do.
FUZZ := $(abspath $(BUILD))/fuzz
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
# What cargo-fuzz gives to the compiler: branches and comparisons are seen.
FUZZ_FLAGS = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1
# A target of its own keeps these flags from build scripts.
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
fuzz: need-rust
	@.ci/deps 'libFuzzer is compiled: g++'
	RUSTFLAGS='$(FUZZ_FLAGS)' CARGO_TARGET_DIR=$(FUZZ)/target $(CARGO) build --release --target $(FUZZ_HOST) \
		--manifest-path fuzz/Cargo.toml $(CARGO_FLAGS)
	fuzz/run $(FUZZ)/target/$(FUZZ_HOST)/release/otpgate-fuzz $(FUZZ) $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# The queue of logins under schedules of threads: so many for each test.
schedules: export OTPGATE_SCHEDULES ?= 200000
schedules:
	$(CARGO) test --release --manifest-path schedules/Cargo.toml $(CARGO_FLAGS)

# All cells of the matrices: from every place to every other, by every way; and every neighbour's deed. `make test` goes
# through a sample.
matrix: export OTPGATE_MATRIX ?= all
matrix: test-deps
	+$(MAKE) --no-print-directory build
	$(CARGO) test --release --workspace --test permissions --test neighbours $(CARGO_FLAGS) -- --nocapture --test-threads=1

# nginx under valgrind: clients that leave, streams that are reset, reloads and stops while logins wait. A fault ends its
# process with 99, which its log tells, and leaves a file here.
MEMCHECK := $(abspath $(BUILD))/memcheck
memcheck: export OTPGATE_NGINX_UNDER = /usr/bin/valgrind --quiet --error-exitcode=99 --log-file=$(MEMCHECK)/%p
memcheck:
	@.ci/deps $(TEST_DEPS) 'memory is watched: valgrind'
	+$(MAKE) --no-print-directory build
	rm -rf $(MEMCHECK) && mkdir -p $(MEMCHECK) && chmod 777 $(MEMCHECK)
	$(CARGO) test --release --workspace --test nginx_requests --test nginx_digest --test nginx_http2 --test nginx_sessions $(CARGO_FLAGS) -- \
		--test-threads=2 --skip cases:: --skip full_zone
	@! find $(MEMCHECK) -type f -size +0 -print -exec cat {} + | grep . || { echo 'memcheck: see above' >&2; exit 1; }
	@echo "memcheck: $$(find $(MEMCHECK) -type f | wc -l) processes without a fault"

# GCC's static analyzer over the C of both modules.
analyze: need-apxs need-nginx $(NGINX_OBJS)/ngx_auto_config.h
	$(CC) $(SHIM_CFLAGS) -fanalyzer -c -o /dev/null apache/mod_authn_otp.c
	for file in nginx/ngx_http_auth_otp_module.c nginx/modules.c; do \
		$(CC) $(NGINX_CFLAGS) -fanalyzer -c -o /dev/null $$file || exit 1; done
	@echo 'analyze: nothing found'

# The C parts under AddressSanitizer and UndefinedBehaviorSanitizer: the programs of the C interface, then both modules in
# real servers. The library is the ordinary one; what it allocates is watched all the same. Servers and test programs leave
# their pools at exit, so leaks aren't looked for.
SANITIZE := $(abspath $(BUILD))/sanitize
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZED_SERVER = /usr/bin/env LD_PRELOAD=$(shell $(CC) -print-file-name=libasan.so) \
	ASAN_OPTIONS=detect_leaks=0:log_path=$(SANITIZE)/log/asan UBSAN_OPTIONS=print_stacktrace=1:log_path=$(SANITIZE)/log/ubsan
sanitize:
	@.ci/deps $(TEST_DEPS)
	+$(MAKE) --no-print-directory build
	+$(MAKE) --no-print-directory apache nginx BUILD=$(SANITIZE) HARDENING= CFLAGS='$(SANITIZERS) $(CFLAGS)' LDFLAGS='$(SANITIZERS) $(LDFLAGS)'
	rm -rf $(SANITIZE)/log && mkdir -p $(SANITIZE)/log && chmod 777 $(SANITIZE)/log
	ASAN_OPTIONS=detect_leaks=0 OTPGATE_C_ABI_CFLAGS='$(SANITIZERS)' $(CARGO) test --release --workspace --test c_abi $(CARGO_FLAGS)
	OTPGATE_MODULE=$(SANITIZE)/mod_authn_otp.so OTPGATE_HTTPD_UNDER='$(SANITIZED_SERVER)' \
	OTPGATE_NGINX_MODULE=$(SANITIZE)/ngx_http_auth_otp_module.so OTPGATE_NGINX_UNDER='$(SANITIZED_SERVER)' \
		$(CARGO) test --release --workspace --test httpd_requests --test nginx_requests --test nginx_sessions $(CARGO_FLAGS) -- --test-threads=2
	@! find $(SANITIZE)/log -type f -size +0 -print -exec cat {} + | grep . || { echo 'sanitize: see above' >&2; exit 1; }
	@echo 'sanitize: nothing found'

demo: demo-deps
	+@$(MAKE) --no-print-directory build
	@APXS="$(apxs)" demo/run.sh $(RELEASE)/otpgate $(abspath $(APACHE_MODULE)) $(abspath $(NGINX_MODULE))

# The library by itself; real servers against themselves without otpgate. Writes build/bench.json and
# docs/performance.svg. PEER_SO= is another mod_authn_otp.so to go through the same cases.
BENCH_DEPS = $(TEST_DEPS) 'load, and time, memory and instructions are counted: time valgrind wrk'
bench: export OTPGATE_BENCH_PEER = $(if $(PEER_SO),$(abspath $(PEER_SO)))
bench:
	@.ci/deps $(BENCH_DEPS)
	+$(MAKE) --no-print-directory build
	$(CARGO) bench --workspace --bench gate $(CARGO_FLAGS)
	$(CARGO) bench --workspace --bench servers $(CARGO_FLAGS)

# What a lingering request adds to whole servers, in instructions and system calls, against the figures in
# benches/requests.txt: fails if the instructions are 2% more. OTPGATE_BENCH_RECORD=1 writes the figures anew.
bench-check: export OTPGATE_BENCH_ONLY = requests
# What is compiled in pieces executes more.
bench-check: export CARGO_INCREMENTAL = 0
bench-check: export OTPGATE_BENCH_RECORD ?=
bench-check:
	@.ci/deps $(BENCH_DEPS)
	+$(MAKE) --no-print-directory build
	$(CARGO) bench --workspace --bench servers $(CARGO_FLAGS)

# A million users, 16 processes, a minute of mixed traffic; fails if an update is lost.
soak:
	$(CARGO) bench --workspace --bench soak $(CARGO_FLAGS)

# ---- Pages as a book -----------------------------------------------------------------------------------
# All pages as HTML with search, in build/docs: complete in itself, for a browser or any web server. Laid out as the
# sources are, so that the pages' links work in both, but for README.md: mdBook makes index.html of each. `make test` checks
# the links, without mdBook.

.PHONY: docs
MDBOOK_VERSION = 0.5.4
MDBOOK ?= $(or $(shell command -v mdbook 2>/dev/null),$(BUILD)/mdbook/bin/mdbook)
BOOK := $(BUILD)/book
docs: $(MDBOOK)
	rm -rf $(BOOK) $(BUILD)/docs && mkdir -p $(BOOK)/src
	tar -c $(DOCS) | tar -x -C $(BOOK)/src
	rm $(BOOK)/src/docs/SUMMARY.md
	sed -e 's,](,](docs/,' -e 's,](docs/\.\./,](,' docs/SUMMARY.md > $(BOOK)/src/SUMMARY.md
	cd $(BOOK)/src && mv README.md about.md && mv docs/README.md docs/index.md && mv packaging/README.md packaging/index.md && \
		sed -i -e 's,](README\.md,](about.md,g' -e 's,](\([a-z]*\)/README\.md,](\1/index.md,g' *.md && \
		sed -i -e 's,](\.\./README\.md,](../about.md,g' -e 's,](\(\.\./packaging/\)\?README\.md,](\1index.md,g' docs/*.md && \
		sed -i -e 's,](\.\./\.\./README\.md,](../../about.md,g' -e 's,](\.\./README\.md,](../index.md,g' docs/recipes/*.md
	cp docs/book.toml $(BOOK)/book.toml
	$(MDBOOK) build --dest-dir $(abspath $(BUILD))/docs $(BOOK)
	echo '<!DOCTYPE html><meta http-equiv="refresh" content="0; url=docs/index.html"><title>otpgate</title>' > $(BUILD)/docs/index.html
	@echo 'docs: open $(abspath $(BUILD))/docs/index.html'

$(BUILD)/mdbook/bin/mdbook:
	CARGO_TARGET_DIR=$(abspath $(BUILD))/mdbook/target $(CARGO) install mdbook --version $(MDBOOK_VERSION) --locked \
		--no-default-features --features search --root $(BUILD)/mdbook
	rm -rf $(BUILD)/mdbook/target

# ---- Install -------------------------------------------------------------------------------------------

.PHONY: list-docs install install-common install-docs install-web-pages install-apache install-nginx install-fail2ban uninstall
.PHONY: deb test-packages reproducible

install: install-common install-docs install-web-pages install-apache install-nginx install-fail2ban

# Names of older tools that the command answers to.
TOOLS = otptool otplock genotpurl
VERSION = $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)

define PC
prefix=$(PREFIX)
libdir=$(LIBDIR)
includedir=$(INCLUDEDIR)

Name: otpgate
Description: One-time-password login for web servers
Version: $(VERSION)
Libs: -L$${libdir} -lotpgate
Libs.private: $(RUST_LIBS)
Cflags: -I$${includedir}
endef
export PC

# Where Rust makes no shared library (musl), there is the static one alone.
install-common:
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(PKGCONFIGDIR)
	install -m 755 $(RELEASE)/otpgate $(DESTDIR)$(BINDIR)/otpgate
	for name in $(TOOLS); do ln -sf otpgate $(DESTDIR)$(BINDIR)/$$name || exit 1; done
	install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	install -m 644 $(BUILD)/pages/man/*.1 $(DESTDIR)$(MANDIR)/man1
	install -m 644 $(BUILD)/pages/man/*.5 $(DESTDIR)$(MANDIR)/man5
	for name in otpgate $(TOOLS); do \
		install -m 644 $(BUILD)/pages/bash/$$name.bash $(DESTDIR)$(BASHDIR)/$$name || exit 1; done
	install -m 644 $(BUILD)/pages/zsh/_* $(DESTDIR)$(ZSHDIR)
	install -m 644 $(BUILD)/pages/fish/*.fish $(DESTDIR)$(FISHDIR)
	install -m 644 include/otpgate.h $(DESTDIR)$(INCLUDEDIR)/otpgate.h
	install -m 644 $(LIBRARY).a $(DESTDIR)$(LIBDIR)/libotpgate.a
	printf '%s\n' "$$PC" > $(DESTDIR)$(PKGCONFIGDIR)/otpgate.pc && chmod 644 $(DESTDIR)$(PKGCONFIGDIR)/otpgate.pc
	[ ! -e $(LIBRARY).so ] || { \
	soname=$$(readelf -d $(LIBRARY).so | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p'); \
	install -m 644 $(LIBRARY).so $(DESTDIR)$(LIBDIR)/$${soname:-libotpgate.so} && \
	case $$soname in ''|libotpgate.so) ;; *) ln -sf $$soname $(DESTDIR)$(LIBDIR)/libotpgate.so ;; esac; }

# Laid out as here, so that the pages' links lead somewhere.
DOCS = README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE-MIT LICENSE-APACHE users.example \
	$(wildcard docs/*.md docs/*.svg docs/*.png docs/images/*.png docs/user-sheet/*.html docs/recipes/*.md) \
	examples/module.c apache/example.conf nginx/example.conf nginx/config packaging/README.md
list-docs:
	@echo $(DOCS)

install-docs:
	for file in $(DOCS); do install -D -m 644 $$file $(DESTDIR)$(DOCDIR)/$$file || exit 1; done

# What web users see, with an include for each server that names the folder they are in.
WEB_PAGES = $(notdir $(wildcard pages/*.html pages/*.var pages/*.conf))
install-web-pages:
	install -d $(DESTDIR)$(WEBPAGESDIR)
	install -m 644 $(addprefix pages/,$(WEB_PAGES)) $(DESTDIR)$(WEBPAGESDIR)
	cd $(DESTDIR)$(WEBPAGESDIR) && sed -i 's|/usr/local/share/otpgate/pages|$(WEBPAGESDIR)|' apache.conf nginx.conf

# Everything in authn_otp.conf is a comment: enabling the module protects nothing by itself.
define install_mods_available
install -d $(DESTDIR)$(MODS_AVAILABLE)
	printf '%s\n' '# Depends: auth_basic authn_core authz_user' \
		'LoadModule authn_otp_module $(LIBEXECDIR)/mod_authn_otp.so' > $(DESTDIR)$(MODS_AVAILABLE)/authn_otp.load
	sed -e '/^# Debian/,/^#LoadModule/d' -e 's/^\( *\)\([^# ]\)/\1#\2/' apache/example.conf | cat -s \
		> $(DESTDIR)$(MODS_AVAILABLE)/authn_otp.conf
	chmod 644 $(DESTDIR)$(MODS_AVAILABLE)/authn_otp.load $(DESTDIR)$(MODS_AVAILABLE)/authn_otp.conf
endef

# Which folders there are is asked in recipes alone, never while this file is read: `make deps` runs where no apxs is yet.
install-apache:
	install -d $(DESTDIR)$(LIBEXECDIR)
	install -m 644 $(APACHE_MODULE) $(DESTDIR)$(LIBEXECDIR)/mod_authn_otp.so
	$(if $(MODS_AVAILABLE),$(install_mods_available))

define install_modules_enabled
install -d $(DESTDIR)$(NGINX_MODULES_ENABLED)
	echo 'load_module $(NGINX_MODULES_DIR)/ngx_http_auth_otp_module.so;' > $(DESTDIR)$(NGINX_MODULES_ENABLED)/50-mod-http-auth-otp.conf
	chmod 644 $(DESTDIR)$(NGINX_MODULES_ENABLED)/50-mod-http-auth-otp.conf
endef

install-nginx:
	install -d $(DESTDIR)$(NGINX_MODULES_DIR)
	install -m 644 $(NGINX_MODULE) $(DESTDIR)$(NGINX_MODULES_DIR)/ngx_http_auth_otp_module.so
	$(if $(NGINX_MODULES_ENABLED),$(install_modules_enabled))

# Jails that are all switched off, and their filter.
FAIL2BAN_FILES = filter.d/otpgate.conf jail.d/otpgate.conf
install-fail2ban:
	for file in $(FAIL2BAN_FILES); do \
		install -D -m 644 packaging/fail2ban/$$file $(DESTDIR)$(SYSCONFDIR)/fail2ban/$$file || exit 1; done

# Removes all that `install` may have installed. Users files stay.
uninstall:
	cd $(DESTDIR)/ && rm -f $(patsubst %,.$(BINDIR)/%,otpgate $(TOOLS)) \
		$(patsubst %,.$(MANDIR)/man1/%.1,otpgate otpgate-* $(TOOLS)) .$(MANDIR)/man5/otpgate-users.5 $(patsubst %,.$(BASHDIR)/%,otpgate $(TOOLS)) \
		$(patsubst %,.$(ZSHDIR)/_%,otpgate $(TOOLS)) $(patsubst %,.$(FISHDIR)/%.fish,otpgate $(TOOLS)) \
		.$(INCLUDEDIR)/otpgate.h .$(LIBDIR)/libotpgate.a .$(LIBDIR)/libotpgate.so* .$(PKGCONFIGDIR)/otpgate.pc \
		$(addprefix .$(WEBPAGESDIR)/,$(WEB_PAGES)) \
		.$(LIBEXECDIR)/mod_authn_otp.so .$(NGINX_MODULES_DIR)/ngx_http_auth_otp_module.so \
		$(if $(MODS_AVAILABLE),.$(MODS_AVAILABLE)/authn_otp.load .$(MODS_AVAILABLE)/authn_otp.conf) \
		$(if $(NGINX_MODULES_ENABLED),.$(NGINX_MODULES_ENABLED)/50-mod-http-auth-otp.conf) \
		$(addprefix .$(SYSCONFDIR)/fail2ban/,$(FAIL2BAN_FILES))
	cd $(DESTDIR)$(DOCDIR) 2>/dev/null && rm -f $(DOCS) && printf '%s\n' $(sort $(filter-out ./,$(dir $(DOCS)))) | sort -r | \
		xargs rmdir --ignore-fail-on-non-empty && rmdir --ignore-fail-on-non-empty "$$PWD" || true
	cd $(DESTDIR)/ && [ ! -d .$(WEBPAGESDIR) ] || \
		rmdir --ignore-fail-on-non-empty .$(WEBPAGESDIR) $(patsubst %/,.%,$(dir $(WEBPAGESDIR)))

# ---- Packages ------------------------------------------------------------------------------------------
# For the Debian or Ubuntu this runs on. Built from a copy, so that dpkg leaves nothing in the sources; what the crates'
# registry has to be asked for, it is asked before.

DEB := $(abspath $(BUILD))/deb
DEB_TARGET ?= $(DEB)/target
deb: need-rust
	@.ci/deps $(BUILD_DEPS) 'packages are made: debhelper dpkg-dev'
	$(CARGO) fetch --locked --target $$(rustc -vV | sed -n 's/^host: //p')
	rm -rf $(DEB)/otpgate $(DEB)/*.deb && mkdir -p $(DEB)/otpgate
	tar -c --exclude-vcs --exclude=./target --exclude=./build . | tar -x -C $(DEB)/otpgate
	cp -r packaging/debian $(DEB)/otpgate/debian
	cd $(DEB)/otpgate && CARGO_HOME=$(CARGO_HOME) RUSTUP_HOME=$${RUSTUP_HOME:-$(HOME)/.rustup} \
		CARGO_TARGET_DIR=$(DEB_TARGET) dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
	@ls $(DEB)/*.deb

# In a clean Debian of the kind that the packages were made on; takes minutes and gigabytes.
SUITE ?= $(shell . /etc/os-release && echo $$VERSION_CODENAME)
test-packages:
	@.ci/deps 'a clean Debian is made and entered: debootstrap iproute2 util-linux zbar-tools'
	@ls $(DEB)/*.deb > /dev/null || { echo 'no packages yet: `make deb`' >&2; exit 1; }
	mkdir -p $(abspath $(BUILD))/packages
	packaging/test.sh $(SUITE) $(DEB) $(abspath $(BUILD))/packages

reproducible:
	packaging/reproducible.sh $(abspath $(BUILD))/reproducible

clean:
	rm -rf $(BUILD)
	$(CARGO) clean
