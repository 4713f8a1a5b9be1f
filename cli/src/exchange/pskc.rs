//! PSKC, RFC 6030: keys in XML, in the clear or encrypted with AES in CBC mode under a pre-shared
//! key or a password (PBKDF2). A MAC is checked before anything is decrypted.
//!
//! Elements are told by their local names: the figures of the RFC itself put some into the wrong
//! namespace.

use std::num::NonZeroU32;

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{
    Block, BlockCipherDecrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};
use data_encoding::BASE64;
use hmac::{Hmac, Mac as _};
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, ClockOffset, Counter, MovingFactor, State};
use otpgate::users::record::KEY_MAX;
use roxmltree::{Document, Node, ParsingOptions};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{ExchangeOutcome, Flaw, Kind, Read, Token, UNFIT_PAPER, Unfit, hash, number};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:keyprov:pskc";
const AES_CBC: [(&str, usize); 3] = [
    ("http://www.w3.org/2001/04/xmlenc#aes128-cbc", 16),
    ("http://www.w3.org/2001/04/xmlenc#aes192-cbc", 24),
    ("http://www.w3.org/2001/04/xmlenc#aes256-cbc", 32),
];
const HMAC_SHA1: &str = "http://www.w3.org/2000/09/xmldsig#hmac-sha1";
const PBKDF2: &str = "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2";
const BLOCK: usize = 16;
/// More would be an attack on whoever imports: about ten seconds.
const ITERATIONS_MAX: u32 = 20_000_000;
/// What is asked of PBKDF2 with SHA-1 nowadays (OWASP, 2023).
const ITERATIONS: u32 = 1_300_000;

/// What the reader has to be given.
pub enum WantedSecret<'a> {
    /// The key under this name, in hexadecimal.
    PreSharedKey(Option<&'a str>),
    /// The password under this name.
    Password(Option<&'a str>),
}

type Ask<'a> = &'a mut dyn FnMut(WantedSecret<'_>) -> Result<Zeroizing<Vec<u8>>, Flaw>;

type ToldOnce<T> = Result<T, &'static str>;

pub fn read(text: &[u8], ignore_signature: bool, ask: Ask<'_>) -> ExchangeOutcome {
    let text = str::from_utf8(text).map_err(|_| Flaw::of_all("it is not UTF-8"))?;
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: u32::MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => Flaw::of_all(
            "it has a document type definition (DTD), which PSKC doesn't need; entities aren't expanded",
        ),
        roxmltree::Error::UnknownEntityReference(..) => {
            Flaw::of_all(format!("it has an entity that isn't one of XML's own, at {}", error.pos()))
        }
        // The parser's own text may quote what stands there.
        error => Flaw::of_all(format!("it is not well-formed XML, at {}", error.pos())),
    })?;
    let root = document.root_element();
    if (root.tag_name().name(), root.tag_name().namespace()) != ("KeyContainer", Some(NAMESPACE)) {
        return Err(Flaw::of_all("its root isn't a KeyContainer of RFC 6030"));
    }
    if !root.attribute("Version").is_some_and(|version| version.starts_with("1.")) {
        return Err(Flaw::of_all("its version isn't 1"));
    }
    if child(root, "Signature").is_some() && !ignore_signature {
        return Err(Flaw::of_all(
            "it is signed, and signatures can't be checked here: check it with `pskctool --verify`, then import it \
             with --ignore-signature",
        ));
    }
    let is_encrypted = root.descendants().any(|node| node.tag_name().name() == "EncryptedValue");
    let ciphers = if is_encrypted { Some(Ciphers::of(root, ask)?) } else { None };

    let mut dated = 0;
    let packages = children(root, "KeyPackage")
        .flat_map(|package| children(package, "Key").map(move |key| (package, key)));
    let mut read = Read::of((1..).zip(packages).map(|(place, (package, key))| {
        let policy = child(key, "Policy");
        let device = child(package, "DeviceInfo");
        let has_date = |node: Option<Node<'_, '_>>| {
            node.is_some_and(|node| {
                child(node, "StartDate").or(child(node, "ExpiryDate")).is_some()
            })
        };
        dated += usize::from(has_date(policy) || has_date(device));
        token(package, key, ciphers.as_ref(), place).map_err(|text| Flaw::at(place, text))
    }));
    if dated > 0 {
        read.notes
            .push(format!("keys with a first or last day, which nothing here observes: {dated}"));
    }
    Ok(read)
}

fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn child<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'static str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

/// The element at the end of a path.
fn down<'a, 'i: 'a>(node: Node<'a, 'i>, path: &[&'static str]) -> Option<Node<'a, 'i>> {
    path.iter().try_fold(node, |node, name| child(node, name))
}

/// All of an element's text, without blanks around it.
fn text_of(node: Node<'_, '_>) -> Zeroizing<String> {
    let pieces = node.children().filter(Node::is_text).filter_map(|piece| piece.text());
    let whole = Zeroizing::new(pieces.collect::<String>());
    Zeroizing::new(whole.trim().to_owned())
}

fn base64_of(node: Node<'_, '_>) -> Option<Zeroizing<Vec<u8>>> {
    let text = text_of(node);
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    plain.extend(text.bytes().filter(|b| !b.is_ascii_whitespace()));
    BASE64.decode(&plain).ok().map(Zeroizing::new)
}

fn token(
    package: Node<'_, '_>,
    key: Node<'_, '_>,
    ciphers: Option<&Ciphers>,
    place: usize,
) -> ToldOnce<Token> {
    let by_time = match key.attribute("Algorithm") {
        None => return Err("it names no algorithm"),
        Some(name) => {
            match name.rsplit([':', '#']).next().expect("a last part").to_ascii_lowercase().as_str()
            {
                "hotp" => false,
                "totp" => true,
                _ => return Err("its algorithm is neither HOTP nor TOTP"),
            }
        }
    };
    let usages =
        down(key, &["Policy"]).map(|policy| children(policy, "KeyUsage").collect::<Vec<_>>());
    if usages.is_some_and(|usages| {
        !usages.is_empty() && usages.iter().all(|usage| *text_of(*usage) != *"OTP")
    }) {
        return Err("its policy doesn't permit one-time passwords");
    }
    let algorithm = match down(key, &["AlgorithmParameters", "Suite"]).map(text_of) {
        None => Hash::Sha1,
        Some(suite) if suite.is_empty() => Hash::Sha1,
        Some(suite) => hash(suite.as_bytes())
            .ok_or("its suite is not HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512")?,
    };
    let format = down(key, &["AlgorithmParameters", "ResponseFormat"]);
    let format = format.ok_or("it doesn't say how long its codes are (ResponseFormat)")?;
    if format.attribute("Encoding") != Some("DECIMAL") {
        return Err("its codes aren't decimal");
    }
    if format.attribute("CheckDigits").is_some_and(|value| ["true", "1"].contains(&value)) {
        return Err("its codes have check digits");
    }
    let length = format.attribute("Length").and_then(|length| number(length.trim().as_bytes()));
    let digits = length
        .and_then(Digits::new)
        .ok_or("the length of its codes is not a number from 1 to 10")?;

    let Some(secret) = down(key, &["Data", "Secret"]) else {
        return Err(match child(key, "KeyReference").or(child(key, "KeyProfileId")) {
            Some(_) => "it contains the name of a key (KeyReference), not the key itself",
            None => "it contains no key (Data/Secret)",
        });
    };
    let secret = value(secret, ciphers, Encoded::Bytes)?;
    if !(1..=KEY_MAX).contains(&secret.len()) {
        return Err("its key is not 1 to 256 bytes");
    }
    let secret = Secret::new(secret.to_vec());

    let integer = |name| -> ToldOnce<Option<i64>> {
        let Some(node) = down(key, &["Data", name]) else { return Ok(None) };
        let bytes = value(node, ciphers, Encoded::Integer)?;
        Ok(Some(i64::from_be_bytes(bytes[..].try_into().expect("an integer has eight bytes"))))
    };
    let mut state = State::fresh();
    let factor = if by_time {
        let period = integer("TimeInterval")?.unwrap_or(30);
        let period = u32::try_from(period).ok().and_then(NonZeroU32::new);
        state.counter = ClockOffset::new(integer("TimeDrift")?.unwrap_or(0)).into();
        MovingFactor::Time(period.ok_or("its time interval is not a number from 1 to 4294967295")?)
    } else {
        let counter = Counter::new(integer("Counter")?.unwrap_or(0));
        state.counter = counter.ok_or("its counter is negative")?.into();
        MovingFactor::Event
    };
    let user = [
        (key, &["UserId"][..]),
        (package, &["DeviceInfo", "UserId"]),
        (package, &["DeviceInfo", "SerialNo"]),
    ]
    .into_iter()
    .find_map(|(node, path)| down(node, path))
    .map(|node| name_in(&text_of(node)))
    .or_else(|| key.attribute("Id").map(|id| id.trim().to_owned()))
    .unwrap_or_default();
    let kind = Kind { algorithm: Algorithm::Hotp(algorithm), factor, digits };
    Ok(Token { user: user.into_bytes(), kind, key: secret, pin: None, state, place })
}

/// The user in a distinguished name (RFC 4514): the value of a UID or CN that it begins with. Else
/// all of it.
fn name_in(text: &str) -> String {
    let Some((kind, rest)) = text.split_once('=') else { return text.to_owned() };
    if !["uid", "cn"].contains(&kind.trim().to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut name = String::new();
    let mut characters = rest.trim_start().chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => name.extend(characters.next()),
            ',' | '+' | ';' => break,
            c => name.push(c),
        }
    }
    name.trim_end().to_owned()
}

#[derive(Clone, Copy)]
enum Encoded {
    /// In base 64.
    Bytes,
    /// Decimal in the clear; encrypted, one to eight bytes in network byte order, as many as the
    /// writer liked. Read as eight.
    Integer,
}

/// What a Secret, Counter, … holds, decrypted if it has to be.
fn value(
    node: Node<'_, '_>,
    ciphers: Option<&Ciphers>,
    encoded: Encoded,
) -> ToldOnce<Zeroizing<Vec<u8>>> {
    if let Some(encrypted) = child(node, "EncryptedValue") {
        let ciphers = ciphers.expect("made if there is an encrypted value");
        let bytes = ciphers.decrypted(encrypted, child(node, "ValueMAC"))?;
        return match encoded {
            Encoded::Bytes => Ok(bytes),
            Encoded::Integer => {
                let integer = integer_of(&bytes)
                    .ok_or("an encrypted number has no bytes, or more than eight")?;
                Ok(Zeroizing::new(integer.to_be_bytes().to_vec()))
            }
        };
    }
    let plain =
        child(node, "PlainValue").ok_or("a value is neither a PlainValue nor an EncryptedValue")?;
    match encoded {
        Encoded::Bytes => base64_of(plain).ok_or("its key isn't base 64"),
        Encoded::Integer => {
            let integer: i64 =
                text_of(plain).parse().map_err(|_| "one of its numbers isn't a number")?;
            Ok(Zeroizing::new(integer.to_be_bytes().to_vec()))
        }
    }
}

/// A number in network byte order. Those of the RFC's own types, of four and eight bytes, have a
/// sign.
fn integer_of(bytes: &[u8]) -> Option<i64> {
    let len = bytes.len();
    let fill = if len == 4 && bytes[0] >= 0x80 { 0xff } else { 0 };
    let place = 8_usize.checked_sub(len).filter(|_| len > 0)?;
    let mut whole = [fill; 8];
    whole[place..].copy_from_slice(bytes);
    Some(i64::from_be_bytes(whole))
}

/// The keys that everything encrypted in a document is under.
struct Ciphers {
    key: Zeroizing<Vec<u8>>,
    mac: Option<(Hash, Zeroizing<Vec<u8>>)>,
}

impl Ciphers {
    fn of(root: Node<'_, '_>, ask: Ask<'_>) -> Result<Ciphers, Flaw> {
        let key = encryption_key(root, ask)?;
        let mut ciphers = Ciphers { key, mac: None };
        if let Some(method) = child(root, "MACMethod") {
            let algorithm =
                match method.attribute("Algorithm").and_then(|name| name.rsplit('#').next()) {
                    Some("hmac-sha1") => Hash::Sha1,
                    Some("hmac-sha256") => Hash::Sha256,
                    Some("hmac-sha512") => Hash::Sha512,
                    _ => {
                        return Err(Flaw::of_all(
                            "its MAC is not HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512",
                        ));
                    }
                };
            if child(method, "MACKeyReference").is_some() {
                return Err(Flaw::of_all(
                    "it contains the name of its MAC key (MACKeyReference), not the key itself",
                ));
            }
            let key = match child(method, "MACKey") {
                // Nothing to check it by: a wrong one fails every value's own check.
                Some(encrypted) => ciphers.opened(encrypted, |_| Ok(())).map_err(Flaw::of_all)?,
                // As drafts of the RFC had it.
                None => ciphers.key.clone(),
            };
            ciphers.mac = Some((algorithm, key));
        }
        Ok(ciphers)
    }

    fn decrypted(
        &self,
        encrypted: Node<'_, '_>,
        mac: Option<Node<'_, '_>>,
    ) -> ToldOnce<Zeroizing<Vec<u8>>> {
        let (Some((hash, key)), Some(mac)) = (&self.mac, mac) else {
            return Err("an encrypted value has no MAC, so tampering would go unnoticed");
        };
        let mac = base64_of(mac).ok_or("a MAC isn't base 64")?;
        self.opened(encrypted, |sealed| {
            if is_mac_of(*hash, key, sealed, &mac) {
                Ok(())
            } else {
                Err("the MAC of an encrypted value is wrong: the key or password isn't the right one, or the file was \
                     altered")
            }
        })
    }

    /// Checks, then decrypts.
    fn opened(
        &self,
        encrypted: Node<'_, '_>,
        check: impl FnOnce(&[u8]) -> ToldOnce<()>,
    ) -> ToldOnce<Zeroizing<Vec<u8>>> {
        let method =
            child(encrypted, "EncryptionMethod").and_then(|method| method.attribute("Algorithm"));
        let (_, key_len) = AES_CBC.into_iter().find(|(name, _)| Some(*name) == method).ok_or(
            "it is encrypted with something other than AES in CBC mode (RSA, say), which isn't read here",
        )?;
        if key_len != self.key.len() {
            return Err("the key is too short or too long for its encryption");
        }
        let sealed = down(encrypted, &["CipherData", "CipherValue"]).and_then(base64_of);
        let sealed =
            sealed.ok_or("an encrypted value contains no base 64 (CipherData/CipherValue)")?;
        check(&sealed)?;
        let broken =
            "an encrypted value can't be decrypted: the key or password isn't the right one";
        let plain = match key_len {
            16 => decrypt::<Aes128>(&self.key, &sealed),
            24 => decrypt::<Aes192>(&self.key, &sealed),
            _ => decrypt::<Aes256>(&self.key, &sealed),
        };
        plain.ok_or(broken)
    }
}

fn encryption_key(root: Node<'_, '_>, ask: Ask<'_>) -> Result<Zeroizing<Vec<u8>>, Flaw> {
    let flaw = |text: &'static str| Flaw::of_all(text);
    let holder = child(root, "EncryptionKey")
        .ok_or_else(|| flaw("it is encrypted, and doesn't say with which key"))?;
    if let Some(derived) = child(holder, "DerivedKey") {
        let method = child(derived, "KeyDerivationMethod");
        let method = method.filter(|method| {
            method.attribute("Algorithm").is_some_and(|name| name.ends_with("#pbkdf2"))
        });
        let parameters = method.and_then(|method| child(method, "PBKDF2-params"));
        let parameters =
            parameters.ok_or_else(|| flaw("its key is derived by something other than PBKDF2"))?;
        let salt = down(parameters, &["Salt", "Specified"]).and_then(base64_of);
        let salt = salt.ok_or_else(|| flaw("its PBKDF2 parameters have no salt"))?;
        let field =
            |name| child(parameters, name).and_then(|node| number::<u32>(text_of(node).as_bytes()));
        let iterations = field("IterationCount")
            .filter(|count| (1..=ITERATIONS_MAX).contains(count))
            .ok_or_else(|| flaw("its PBKDF2 iterations are not a number from 1 to 20000000"))?;
        let len = field("KeyLength")
            .filter(|len| AES_CBC.iter().any(|(_, key_len)| *len as usize == *key_len));
        let len = len.ok_or_else(|| flaw("its PBKDF2 key length is not 16, 24 or 32"))?;
        let function =
            child(parameters, "PRF").and_then(|function| function.attribute("Algorithm"));
        let function = function.map(|name| name.rsplit('#').next().expect("a last part"));
        let name = child(derived, "MasterKeyName").map(text_of);
        let password = ask(WantedSecret::Password(name.as_ref().map(|name| name.as_str())))?;
        let mut key = Zeroizing::new(vec![0; len as usize]);
        match function {
            None | Some("hmac-sha1") => {
                pbkdf2::pbkdf2_hmac::<Sha1>(&password, &salt, iterations, &mut key)
            }
            Some("hmac-sha256") => {
                pbkdf2::pbkdf2_hmac::<Sha256>(&password, &salt, iterations, &mut key)
            }
            Some("hmac-sha512") => {
                pbkdf2::pbkdf2_hmac::<Sha512>(&password, &salt, iterations, &mut key)
            }
            Some(_) => {
                return Err(flaw(
                    "its PBKDF2 function is not HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512",
                ));
            }
        }
        return Ok(key);
    }
    let Some(name) = child(holder, "KeyName") else {
        return Err(flaw(
            "it is encrypted for a certificate (RSA), which isn't read here: ask for a password or a \
                         pre-shared key instead",
        ));
    };
    let text = ask(WantedSecret::PreSharedKey(Some(text_of(name).as_str())))?;
    let key =
        super::hexadecimal(text.trim_ascii()).map(|key| Zeroizing::new(key.expose().to_vec()));
    key.ok_or_else(|| flaw("the pre-shared key is not pairs of hexadecimal digits"))
}

fn is_mac_of(hash: Hash, key: &[u8], sealed: &[u8], mac: &[u8]) -> bool {
    macro_rules! verify {
        ($hash:ty) => {{
            let keyed = <Hmac<$hash> as hmac::KeyInit>::new_from_slice(key)
                .expect("HMAC takes keys of any length");
            keyed.chain_update(sealed).verify_slice(mac).is_ok()
        }};
    }
    match hash {
        Hash::Sha1 => verify!(Sha1),
        Hash::Sha256 => verify!(Sha256),
        Hash::Sha512 => verify!(Sha512),
    }
}

/// A block of random bytes, then the text; padded as XML Encryption does, whose last byte counts
/// the padding.
fn decrypt<C>(key: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let (iv, body) = sealed.split_at_checked(BLOCK)?;
    if body.is_empty() || body.len() % BLOCK != 0 {
        return None;
    }
    let mut mode = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    let mut plain = Zeroizing::new(body.to_vec());
    for block in plain.chunks_exact_mut(BLOCK) {
        mode.decrypt_block(<&mut Block<C>>::try_from(block).ok()?);
    }
    let padding = usize::from(*plain.last()?);
    let len = plain.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding))?;
    plain.truncate(len);
    Some(plain)
}

/// How a document is encrypted.
pub enum Protection<'a> {
    /// AES-128.
    PreSharedKey(&'a [u8]),
    Password(&'a [u8]),
}

/// Seals values for one document.
struct Sealer {
    key: Zeroizing<Vec<u8>>,
    mac_key: Zeroizing<Vec<u8>>,
    fill_with_random: fn(&mut [u8]) -> crate::Result<()>,
}

impl Sealer {
    fn sealed(&self, plain: &[u8]) -> crate::Result<Vec<u8>> {
        let mut iv = [0; BLOCK];
        (self.fill_with_random)(&mut iv)?;
        let padding = BLOCK - plain.len() % BLOCK;
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + padding));
        body.extend_from_slice(plain);
        body.extend(std::iter::repeat_n(padding as u8, padding));
        let mut mode =
            cbc::Encryptor::<Aes128>::new_from_slices(&self.key, &iv).expect("16 bytes each");
        for block in body.chunks_exact_mut(BLOCK) {
            mode.encrypt_block(<&mut Block<Aes128>>::try_from(block).expect("16 bytes"));
        }
        Ok([&iv[..], &body].concat())
    }

    fn mac(&self, sealed: &[u8]) -> Vec<u8> {
        let keyed = <Hmac<Sha1> as hmac::KeyInit>::new_from_slice(&self.mac_key)
            .expect("HMAC takes keys of any length");
        keyed.chain_update(sealed).finalize().into_bytes().to_vec()
    }
}

/// Writes a document.
pub struct Writer {
    out: Zeroizing<String>,
    sealer: Option<Sealer>,
    keys: usize,
}

impl Writer {
    pub fn new(
        protection: Option<Protection<'_>>,
        fill_with_random: fn(&mut [u8]) -> crate::Result<()>,
    ) -> crate::Result<Writer> {
        let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<KeyContainer Version=\"1.0\" \
                       xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" \
                       xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\">\n"
            .to_owned();
        let mut mac_key = Zeroizing::new(vec![0; 20]);
        fill_with_random(&mut mac_key)?;
        let (key, holder) = match protection {
            None => return Ok(Writer { out: Zeroizing::new(out), sealer: None, keys: 0 }),
            Some(Protection::PreSharedKey(key)) => {
                (Zeroizing::new(key.to_vec()), "<ds:KeyName>Pre-shared-key</ds:KeyName>".to_owned())
            }
            Some(Protection::Password(password)) => {
                let mut salt = [0; 16];
                fill_with_random(&mut salt)?;
                let mut key = Zeroizing::new(vec![0; 16]);
                pbkdf2::pbkdf2_hmac::<Sha1>(password, &salt, ITERATIONS, &mut key);
                let salt = BASE64.encode(&salt);
                let holder = format!(
                    "<xenc11:DerivedKey xmlns:xenc11=\"http://www.w3.org/2009/xmlenc11#\" \
                     xmlns:pkcs5=\"http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#\">\
                     <xenc11:KeyDerivationMethod Algorithm=\"{PBKDF2}\"><pkcs5:PBKDF2-params>\
                     <Salt><Specified>{salt}</Specified></Salt><IterationCount>{ITERATIONS}</IterationCount>\
                     <KeyLength>16</KeyLength><PRF/></pkcs5:PBKDF2-params></xenc11:KeyDerivationMethod>\
                     <xenc11:MasterKeyName>Password</xenc11:MasterKeyName></xenc11:DerivedKey>"
                );
                (key, holder)
            }
        };
        let sealer = Sealer { key, mac_key, fill_with_random };
        let mac_key = encrypted(&sealer.sealed(&sealer.mac_key)?);
        out += &format!(
            "<EncryptionKey>{holder}</EncryptionKey>\n\
             <MACMethod Algorithm=\"{HMAC_SHA1}\"><MACKey>{mac_key}</MACKey></MACMethod>\n"
        );
        Ok(Writer { out: Zeroizing::new(out), sealer: Some(sealer), keys: 0 })
    }

    /// Adds a token, if PSKC has a place for it.
    pub fn add(&mut self, token: &Token, issuer: &str) -> crate::Result<Result<(), Unfit>> {
        let Algorithm::Hotp(hash) = token.kind.algorithm else {
            return Ok(Err(Unfit("PSKC has no profile for Mobile-OTP")));
        };
        let user =
            str::from_utf8(&token.user).ok().filter(|user| !user.chars().any(char::is_control));
        let Some(user) = user else {
            return Ok(Err(Unfit("XML can't represent the bytes of its user's name")));
        };
        let (profile, factor) = match token.kind.factor {
            MovingFactor::Paper(_) => return Ok(Err(UNFIT_PAPER)),
            MovingFactor::Event => (
                "hotp",
                format!("<Counter><PlainValue>{}</PlainValue></Counter>", token.state.counter),
            ),
            MovingFactor::Time(period) => {
                let drift = match i32::try_from(token.state.counter.as_written()) {
                    Ok(0) | Err(_) => String::new(),
                    Ok(drift) => format!("<TimeDrift><PlainValue>{drift}</PlainValue></TimeDrift>"),
                };
                let interval =
                    format!("<TimeInterval><PlainValue>{period}</PlainValue></TimeInterval>");
                ("totp", format!("<Time><PlainValue>0</PlainValue></Time>{interval}{drift}"))
            }
        };
        let suite = match hash {
            Hash::Sha1 => "",
            Hash::Sha256 => "<Suite>HMAC-SHA256</Suite>",
            Hash::Sha512 => "<Suite>HMAC-SHA512</Suite>",
        };
        let secret = match &self.sealer {
            None => {
                let key = Zeroizing::new(BASE64.encode(token.key.expose()));
                Zeroizing::new(format!("<PlainValue>{}</PlainValue>", key.as_str()))
            }
            Some(sealer) => {
                let sealed = sealer.sealed(token.key.expose())?;
                let mac = BASE64.encode(&sealer.mac(&sealed));
                let value = encrypted(&sealed);
                Zeroizing::new(format!(
                    "<EncryptedValue>{value}</EncryptedValue><ValueMAC>{mac}</ValueMAC>"
                ))
            }
        };
        self.keys += 1;
        let digits = token.kind.digits.count();
        self.out.push_str(&format!(
            "<KeyPackage><Key Id=\"{}\" Algorithm=\"{NAMESPACE}:{profile}\"><Issuer>{}</Issuer>\
             <AlgorithmParameters>{suite}<ResponseFormat Encoding=\"DECIMAL\" Length=\"{digits}\"/>\
             </AlgorithmParameters><Data><Secret>",
            self.keys,
            escaped(issuer),
        ));
        self.out.push_str(&secret);
        self.out.push_str(&format!(
            "</Secret>{factor}</Data><UserId>UID={}</UserId><Policy><KeyUsage>OTP</KeyUsage></Policy></Key></KeyPackage>\n",
            escaped(&name_value(user)),
        ));
        Ok(Ok(()))
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut *self.out).into_bytes())
    }

    /// What is left, with the end of the document.
    pub fn finish(mut self) -> Zeroizing<String> {
        self.out.push_str("</KeyContainer>\n");
        self.out
    }
}

fn encrypted(sealed: &[u8]) -> String {
    format!(
        "<xenc:EncryptionMethod Algorithm=\"{}\"/><xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue>\
         </xenc:CipherData>",
        AES_CBC[0].0,
        BASE64.encode(sealed)
    )
}

/// A value in a distinguished name, RFC 4514.
fn name_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#') {
            value.push('\\');
        }
        value.push(c);
    }
    value
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_eight_bytes_and_a_sign_where_the_rfc_has_one() {
        for (bytes, number) in [
            (&[0x80][..], Some(0x80)),
            (&[1, 0], Some(0x100)),
            (&[0xff, 0xff, 0xff], Some(0xff_ffff)),
            (&[0xff, 0xff, 0xff, 0xfe], Some(-2)),
            (&[0x7f, 0xff, 0xff, 0xff], Some(0x7fff_ffff)),
            (&[0xff; 5], Some(0xff_ffff_ffff)),
            (&[0xff; 7], Some((1 << 56) - 1)),
            (&[0xff; 8], Some(-1)),
            (&[0, 0, 0, 0, 0, 0, 0, 9], Some(9)),
            (&[], None),
            (&[0; 9], None),
        ] {
            assert_eq!(integer_of(bytes), number, "{bytes:?}");
        }
    }
}
