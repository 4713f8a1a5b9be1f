//! All that the page says, in each language. Where one thing has a place of its own in the pages of
//! `pages/`, it is said in the same words.

use crate::http::accept::Language;

/// One thing said in each language, in the order of [`Language::ALL`]. `{}` stands for what is
/// inserted.
pub struct Text([&'static str; 4]);

impl Text {
    /// How it is said in this language.
    pub fn is_said_in(&self, language: Language) -> &'static str {
        let [en, de, fr, es] = self.0;
        match language {
            Language::En => en,
            Language::De => de,
            Language::Fr => fr,
            Language::Es => es,
        }
    }
}

macro_rules! texts {
    ($($name:ident: $en:literal, $de:literal, $fr:literal, $es:literal;)*) => {
        $(pub const $name: Text = Text([$en, $de, $fr, $es]);)*

        #[cfg(test)]
        pub const ALL: &[(&str, Text)] = &[$((stringify!($name), $name)),*];
    };
}

texts! {
    // Headings.
    LOG_IN:
        "Log in",
        "Anmelden",
        "Se connecter",
        "Iniciar sesión";
    CONFIRM:
        "Enter a new code",
        "Neuen Code eingeben",
        "Saisir un nouveau code",
        "Escriba un código nuevo";
    LOGGED_IN:
        "You are logged in",
        "Sie sind angemeldet",
        "Vous êtes connecté",
        "Ha iniciado sesión";
    LOGGED_OUT:
        "You are logged out",
        "Sie sind abgemeldet",
        "Vous êtes déconnecté",
        "Ha cerrado sesión";
    UNUSABLE:
        "This form can’t be used",
        "Dieses Formular ist nicht verwendbar",
        "Ce formulaire n’est pas utilisable",
        "Este formulario no se puede usar";

    // What stands below them.
    CONFIRM_LEAD:
        "You are logged in as {}. This page needs a code that you enter now.",
        "Sie sind als {} angemeldet. Für diese Seite brauchen Sie einen Code, den Sie jetzt eingeben.",
        "Vous êtes connecté en tant que {}. Cette page demande un code saisi maintenant.",
        "Ha iniciado sesión como {}. Esta página pide un código que escriba ahora.";
    CONFIRM_LEAD_WITHOUT_USER:
        "This page needs a code that you enter now.",
        "Für diese Seite brauchen Sie einen Code, den Sie jetzt eingeben.",
        "Cette page demande un code saisi maintenant.",
        "Esta página pide un código que escriba ahora.";
    LOGGED_IN_LEAD:
        "Your user name is {}.",
        "Ihr Benutzername ist {}.",
        "Votre nom d’utilisateur est {}.",
        "Su nombre de usuario es {}.";
    LOGGED_OUT_LEAD:
        "This browser needs a new code for the next login.",
        "Für die nächste Anmeldung braucht dieser Browser einen neuen Code.",
        "Pour la prochaine connexion, ce navigateur aura besoin d’un nouveau code.",
        "Para el próximo inicio de sesión, este navegador necesitará un código nuevo.";
    MOVED_LEAD:
        "If the page doesn’t open by itself, go on here.",
        "Wenn sich die Seite nicht von selbst öffnet, geht es hier weiter.",
        "Si la page ne s’ouvre pas d’elle-même, continuez ici.",
        "Si la página no se abre sola, continúe aquí.";
    UNUSABLE_LEAD:
        "Nothing you typed was checked, and no code is used up. Start again.",
        "Nichts, was Sie eingegeben haben, wurde geprüft, und kein Code ist verbraucht. Beginnen Sie noch einmal.",
        "Rien de ce que vous avez saisi n’a été vérifié et aucun code n’est consommé. Recommencez.",
        "No se ha comprobado nada de lo que ha escrito ni se ha gastado ningún código. Empiece de nuevo.";

    // Fields.
    USER:
        "User name",
        "Benutzername",
        "Nom d’utilisateur",
        "Nombre de usuario";
    PIN:
        "PIN",
        "PIN",
        "PIN",
        "PIN";
    PIN_HINT:
        "If you have no PIN, leave this empty.",
        "Wenn Sie keine PIN haben, lassen Sie dieses Feld leer.",
        "Si vous n’avez pas de PIN, laissez ce champ vide.",
        "Si no tiene PIN, deje este campo vacío.";
    CODE:
        "Code",
        "Code",
        "Code",
        "Código";
    CODE_HINT:
        "The one that your phone or key fob shows now, or the next one of your paper list.",
        "Der Code, den Ihr Telefon oder Schlüsselanhänger gerade anzeigt, oder der nächste Ihrer Papierliste.",
        "Celui que votre téléphone ou votre porte-clés affiche maintenant, ou le suivant de votre liste sur papier.",
        "El que muestra ahora su teléfono o llavero, o el siguiente de su lista en papel.";
    CODE_NOT_NEEDED:
        "Not needed on this computer: you can leave this empty.",
        "Auf diesem Computer nicht nötig: Sie können dieses Feld leer lassen.",
        "Inutile sur cet ordinateur : vous pouvez laisser ce champ vide.",
        "No hace falta en este ordenador: puede dejar este campo vacío.";
    COMPUTER:
        "Ask for no code on this computer for {} days",
        "Auf diesem Computer {} Tage lang keinen Code verlangen",
        "Ne pas demander de code sur cet ordinateur pendant {} jours",
        "No pedir código en este ordenador durante {} días";
    COMPUTER_ONE_DAY:
        "Ask for no code on this computer for a day",
        "Auf diesem Computer einen Tag lang keinen Code verlangen",
        "Ne pas demander de code sur cet ordinateur pendant un jour",
        "No pedir código en este ordenador durante un día";
    COMPUTER_HINT:
        "Only on a computer that nobody else uses.",
        "Nur auf einem Computer, den sonst niemand benutzt.",
        "Uniquement sur un ordinateur que personne d’autre n’utilise.",
        "Solo en un ordenador que no use nadie más.";

    // Buttons and links.
    GO_ON:
        "Continue",
        "Weiter",
        "Continuer",
        "Continuar";
    LOG_OUT:
        "Log out",
        "Abmelden",
        "Se déconnecter",
        "Cerrar sesión";
    LOG_IN_AGAIN:
        "Log in again",
        "Erneut anmelden",
        "Se connecter à nouveau",
        "Iniciar sesión de nuevo";
    START_AGAIN:
        "Start again",
        "Neu beginnen",
        "Recommencer",
        "Empezar de nuevo";

    // What has happened: in short, and what to do.
    NOT_RIGHT:
        "That didn’t work",
        "Das hat nicht geklappt",
        "Cela n’a pas marché",
        "No ha funcionado";
    NOT_RIGHT_TEXT:
        "User name, PIN or code isn’t right. Each code is good for one login: wait for the next one, then type everything again.",
        "Benutzername, PIN oder Code stimmt nicht. Jeder Code gilt für eine Anmeldung: Warten Sie auf den nächsten und geben Sie dann alles noch einmal ein.",
        "Le nom d’utilisateur, le PIN ou le code n’est pas bon. Chaque code vaut pour une seule connexion : attendez le suivant, puis saisissez tout de nouveau.",
        "El nombre de usuario, el PIN o el código no es correcto. Cada código sirve para un solo inicio de sesión: espere al siguiente y escriba todo otra vez.";
    THROTTLED:
        "Please wait",
        "Bitte warten Sie",
        "Veuillez patienter",
        "Espere, por favor";
    THROTTLED_TEXT:
        "There have been too many failed logins from your connection or with this user name. Until the wait is over, nothing you type is checked, and no code is used up. Seconds to wait: {}",
        "Über Ihren Anschluss oder mit diesem Benutzernamen sind zu viele Anmeldungen gescheitert. Bis zum Ende der Wartezeit wird nichts geprüft, was Sie eingeben, und kein Code verbraucht. Wartezeit in Sekunden: {}",
        "Trop de connexions ont échoué depuis votre accès à Internet ou avec ce nom d’utilisateur. Jusqu’à la fin du délai, rien de ce que vous saisissez n’est vérifié et aucun code n’est consommé. Délai en secondes : {}",
        "Ha habido demasiados intentos fallidos desde su conexión o con este nombre de usuario. Hasta que termine la espera no se comprueba nada de lo que escriba ni se gasta ningún código. Segundos de espera: {}";
    BUSY:
        "The server is busy",
        "Der Server ist ausgelastet",
        "Le serveur est occupé",
        "El servidor está ocupado";
    BUSY_TEXT:
        "It can’t answer right now. Nothing you typed has been refused. Please try again in a moment.",
        "Er kann gerade nicht antworten. Ihre Eingabe wurde nicht abgelehnt. Versuchen Sie es gleich noch einmal.",
        "Il ne peut pas répondre pour l’instant. Votre saisie n’a pas été refusée. Réessayez dans un instant.",
        "No puede responder en este momento. Lo que ha escrito no se ha rechazado. Inténtelo de nuevo dentro de un momento.";
    FAILED:
        "The server can’t log you in",
        "Der Server kann Sie nicht anmelden",
        "Le serveur ne peut pas vous connecter",
        "El servidor no puede iniciar la sesión";
    FAILED_TEXT:
        "Something is wrong there, and not with what you typed. Tell the person you have your PIN from.",
        "Dort stimmt etwas nicht; an Ihrer Eingabe liegt es nicht. Sagen Sie der Person Bescheid, von der Sie Ihre PIN haben.",
        "Le problème vient de là, et non de votre saisie. Prévenez la personne qui vous a donné votre PIN.",
        "El problema está ahí y no en lo que ha escrito. Avise a la persona que le dio su PIN.";
    PAPER:
        "A code is missing",
        "Es fehlt ein Code",
        "Il manque un code",
        "Falta un código";
    PAPER_TEXT:
        "Type your PIN again, and a code. If you use your paper list, the next one has the number {}.",
        "Geben Sie Ihre PIN noch einmal ein und dazu einen Code. Auf Ihrer Papierliste hat der nächste die Nummer {}.",
        "Saisissez de nouveau votre PIN, avec un code. Sur votre liste en papier, le suivant porte le numéro {}.",
        "Escriba su PIN otra vez y también un código. En su lista en papel, el siguiente tiene el número {}.";
    NO_COOKIE:
        "Your browser sent no cookie",
        "Ihr Browser hat kein Cookie gesendet",
        "Votre navigateur n’a pas envoyé de cookie",
        "Su navegador no ha enviado ninguna cookie";
    NO_COOKIE_TEXT:
        "This site can’t keep you logged in without one. Allow cookies for it in your browser’s settings, then start again.",
        "Ohne Cookie können Sie hier nicht angemeldet bleiben. Erlauben Sie dieser Website Cookies in den Einstellungen des Browsers und beginnen Sie dann noch einmal.",
        "Sans cookie, vous ne pouvez pas rester connecté à ce site. Autorisez ses cookies dans les paramètres du navigateur, puis recommencez.",
        "Sin cookies no puede mantener la sesión en este sitio. Permítalas en los ajustes del navegador y empiece de nuevo.";
    EXPIRED:
        "The form was too old",
        "Das Formular war zu alt",
        "Le formulaire était trop ancien",
        "El formulario era demasiado antiguo";
    EXPIRED_TEXT:
        "It had been open for a long time, so nothing you typed was checked. No code is used up. Please log in again.",
        "Es war lange geöffnet. Deshalb wurde nichts geprüft, was Sie eingegeben haben, und kein Code ist verbraucht. Melden Sie sich noch einmal an.",
        "Il était ouvert depuis longtemps : rien de ce que vous avez saisi n’a été vérifié et aucun code n’est consommé. Connectez-vous à nouveau.",
        "Llevaba mucho tiempo abierto, así que no se ha comprobado nada de lo que ha escrito ni se ha gastado ningún código. Inicie sesión de nuevo.";
    NOT_SENT:
        "What you sent was not passed on",
        "Was Sie gesendet haben, wurde nicht weitergegeben",
        "Votre envoi n’a pas été transmis",
        "Lo que ha enviado no se ha transmitido";
    NOT_SENT_TEXT:
        "You were not logged in any more, or a new code was needed, so nothing of your form was saved. Log in here. Then go back to your form with the browser’s back button, check that everything is still there, and send it again.",
        "Sie waren nicht mehr angemeldet, oder es war ein neuer Code nötig. Deshalb wurde von Ihrem Formular nichts gespeichert. Melden Sie sich hier an. Gehen Sie dann mit der Zurück-Taste des Browsers zu Ihrem Formular, prüfen Sie, ob alles noch da ist, und senden Sie es noch einmal.",
        "Vous n’étiez plus connecté, ou il fallait un nouveau code : rien de votre formulaire n’a été enregistré. Connectez-vous ici. Revenez ensuite à votre formulaire avec le bouton Retour du navigateur, vérifiez que tout y est encore et envoyez-le à nouveau.",
        "Ya no tenía la sesión iniciada o hacía falta un código nuevo, así que no se ha guardado nada de su formulario. Inicie sesión aquí. Después vuelva a su formulario con el botón Atrás del navegador, compruebe que todo sigue ahí y envíelo de nuevo.";

    // What helps.
    HELP:
        "If it doesn’t work",
        "Wenn es nicht klappt",
        "Si cela ne marche pas",
        "Si no funciona";
    HELP_ONCE:
        "Each code is good for one login. If you have used it, wait for the next one.",
        "Jeder Code gilt für eine Anmeldung. Ist er verbraucht, warten Sie auf den nächsten.",
        "Chaque code vaut pour une seule connexion. S’il a servi, attendez le suivant.",
        "Cada código sirve para un solo inicio de sesión. Si ya lo ha usado, espere al siguiente.";
    HELP_CLOCK:
        "Your phone’s clock must be right. Let it set date and time automatically.",
        "Die Uhr Ihres Telefons muss stimmen. Lassen Sie Datum und Uhrzeit automatisch einstellen.",
        "L’horloge de votre téléphone doit être à l’heure. Laissez-la se régler automatiquement.",
        "El reloj de su teléfono debe estar en hora. Deje que la fecha y la hora se ajusten automáticamente.";
    HELP_LOCKED:
        "After many wrong codes even a right one is refused for a while.",
        "Nach vielen falschen Codes wird eine Zeit lang auch ein richtiger abgelehnt.",
        "Après de nombreux codes erronés, même un bon code est refusé pendant un certain temps.",
        "Tras muchos códigos erróneos se rechaza incluso uno correcto durante un tiempo.";
    HELP_ASK:
        "Ask whoever gave you your PIN. Nobody needs to know it to help you: never tell it to anyone.",
        "Fragen Sie die Person, von der Sie Ihre PIN haben. Um Ihnen zu helfen, muss niemand die PIN kennen: Verraten Sie sie niemandem.",
        "Adressez-vous à la personne qui vous a donné votre PIN. Personne n’a besoin de le connaître pour vous aider : ne le communiquez jamais.",
        "Pregunte a la persona que le dio su PIN. Nadie necesita saberlo para ayudarle: no se lo diga nunca a nadie.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_in_each_language() {
        // Rightly the same.
        const ALIKE: [&str; 2] = ["PIN", "Code"];
        for (name, text) in ALL {
            let english = text.is_said_in(Language::En);
            for language in Language::ALL {
                let said = text.is_said_in(language);
                let place = format!("{name} {}", language.tag());
                assert!(!said.is_empty() && said.trim() == said, "{place}");
                assert!(!said.contains(['<', '>', '&', '"', '\'', '\n']), "{place}: {said}");
                assert_eq!(said.matches("{}").count(), english.matches("{}").count(), "{place}");
                let is_same = language != Language::En && said == english;
                assert!(!is_same || ALIKE.contains(&said), "{place}: {said}");
            }
        }
    }

    #[test]
    fn what_the_other_pages_say_too_is_said_in_the_same_words() {
        for language in Language::ALL {
            let page = |status| {
                let path = format!(
                    "{}/pages/{status}.{}.html",
                    env!("CARGO_MANIFEST_DIR"),
                    language.tag()
                );
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
            };
            let refused = page(401);
            let throttled = page(429);
            let busy = page(503);
            for (text, page) in [
                (HELP_ONCE, &refused),
                (HELP_CLOCK, &refused),
                (HELP_LOCKED, &refused),
                (HELP_ASK, &refused),
                (THROTTLED, &throttled),
                (BUSY, &busy),
                (BUSY_TEXT, &busy),
            ] {
                let said = text.is_said_in(language);
                assert!(page.contains(&format!(">{said}</")), "{}: {said}", language.tag());
            }
            let (said, _) = THROTTLED_TEXT.is_said_in(language).split_once("{}").unwrap();
            let (why, wait) = said.rsplit_once(". ").unwrap();
            for said in [&format!("{why}.</p>"), &format!("\"{wait}$otpgate_wait\"")] {
                assert!(throttled.contains(said), "{}: {said}", language.tag());
            }
        }
    }
}
