//! Directives of httpd itself that say which providers are asked for a password. The configuration
//! test compares them with our settings, and `AuthBasicProvider` says whether a login is looked at
//! before the provider is asked.

use super::Given;

/// What one section says, or several merged.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // named as in httpd
pub struct Asked<'a> {
    pub auth_type: Option<Given<'a, &'a [u8]>>,
    /// Whether `AuthBasicProvider` names us.
    pub basic: Option<Given<'a, bool>>,
    /// Whether `AuthDigestProvider` names us.
    pub digest: Option<Given<'a, bool>>,
    /// Whether `AuthFormProvider` names us.
    pub form: Option<Given<'a, bool>>,
    /// Whether `AuthBasicUseDigestAlgorithm` is on.
    pub by_hash: Option<Given<'a, bool>>,
}

impl<'a> Asked<'a> {
    /// The name under which httpd knows us as a provider.
    const PROVIDER: &'static [u8] = b"OTP";

    /// Notes a directive. `false`: it is none of these.
    pub fn note(&mut self, name: &[u8], words: &[&'a [u8]], place: &'a [u8]) -> bool {
        let word = words.first().copied().unwrap_or_default();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("AuthType") {
            self.auth_type = Some(Given { value: word, place });
            return true;
        }
        if is("AuthBasicUseDigestAlgorithm") {
            self.by_hash = Some(Given { value: !word.eq_ignore_ascii_case(b"off"), place });
            return true;
        }
        let asked = match () {
            () if is("AuthBasicProvider") => &mut self.basic,
            () if is("AuthDigestProvider") => &mut self.digest,
            () if is("AuthFormProvider") => &mut self.form,
            () => return false,
        };
        // Each further word and directive is one provider more.
        let before = asked.is_some_and(|given| given.value);
        *asked = Some(Given { value: before || words.contains(&Self::PROVIDER), place });
        true
    }

    /// Overlays these by those of a section inside.
    pub(super) fn overlay(&mut self, child: &Asked<'a>) {
        macro_rules! overlay {
            ($($directive:ident)*) => {
                let Asked { $($directive),* } = child;
                $(if $directive.is_some() {
                    self.$directive = *$directive;
                })*
            };
        }
        overlay!(auth_type basic digest form by_hash);
    }

    /// Whether `AuthType` has that value.
    pub fn is_of_type(&self, name: &str) -> bool {
        self.auth_type.is_some_and(|given| given.value.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether `AuthType` is ours, or we are one of those whom it has asked.
    pub fn is_asked(&self) -> bool {
        if self.is_of_type("OTP") {
            return true;
        }
        let lists = [("Basic", self.basic), ("Digest", self.digest), ("form", self.form)];
        lists
            .into_iter()
            .any(|(name, list)| self.is_of_type(name) && list.is_some_and(|given| given.value))
    }

    /// Where we are named, if we are.
    pub fn place(&self) -> Option<&'a [u8]> {
        let named =
            [self.basic, self.digest, self.form].into_iter().flatten().find(|given| given.value);
        named.map(|given| given.place)
    }
}
