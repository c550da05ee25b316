//! Permissions that a signing key gives all its users, with places to fill in.

use jetkv_protocol::subject;

use super::model::{AccountClaims, Permission, User, UserClaims};

/// Most subjects that a list may grow to.
const SUBJECTS_MAX: usize = 4096;

/// Why a template gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// What is denied would be no subject.
    #[error("generated invalid subject")]
    Subject,
    /// A word in braces means nothing.
    #[error("template operation is not defined")]
    Operation,
    /// There are too many combinations.
    #[error("template expansion exceeds limit: {SUBJECTS_MAX}")]
    TooMany,
}

/// The permissions and limits of a user.
pub type Filled = User;

/// Fills a template in for a user of an account.
///
/// # Errors
/// [`TemplateError`].
pub fn fill(template: &User, user: &UserClaims, account: &AccountClaims) -> Result<Filled, TemplateError> {
    let mut filled = template.clone();
    let values = Values { user, account };
    for permission in [&mut filled.subscribe, &mut filled.publish] {
        fill_permission(permission, &values)?;
    }
    filled.issuer_account.clone_from(&user.nats.issuer_account);
    filled.tags.clone_from(&user.nats.tags);
    Ok(filled)
}

fn fill_permission(permission: &mut Permission, values: &Values<'_>) -> Result<(), TemplateError> {
    let allowed_some = !permission.allow.is_empty();
    permission.allow = fill_list(&permission.allow, values, false)?;
    permission.deny = fill_list(&permission.deny, values, true)?;
    // What was to be limited must not become open because nothing is left of it.
    if allowed_some && permission.allow.is_empty() && !permission.deny.iter().any(|subject| subject == ">") {
        permission.deny.push(">".to_owned());
    }
    Ok(())
}

/// `is_strict`: a subject that is none is an error, not left out.
fn fill_list(list: &[String], values: &Values<'_>, is_strict: bool) -> Result<Vec<String>, TemplateError> {
    // A list without any place to fill in stays as it is, valid or not.
    if !list.iter().any(|text| places(text).next().is_some()) {
        return Ok(list.to_vec());
    }
    let mut filled = Vec::with_capacity(list.len());
    for text in list {
        for subject in fill_text(text, values, is_strict, SUBJECTS_MAX.saturating_sub(filled.len()))? {
            if subject::is_valid(subject.as_bytes()) {
                filled.push(subject);
            } else if is_strict {
                return Err(TemplateError::Subject);
            }
        }
    }
    Ok(filled)
}

/// All texts that come of one, at most `max` where there are several.
fn fill_text(
    text: &str,
    values: &Values<'_>,
    is_strict: bool,
    max: usize,
) -> Result<Vec<String>, TemplateError> {
    let (mut texts, mut is_open) = (vec![text.to_owned()], false);
    for place in places(text) {
        let found = values.of(place)?;
        is_open |= matches!(found, Found::Tags(_));
        let found = match found {
            Found::One(value) => vec![value],
            Found::Tags(tags) if tags.is_empty() && is_strict => return Err(TemplateError::Subject),
            // Which makes no subject of it.
            Found::Tags(tags) if tags.is_empty() => vec![" ".to_owned()],
            Found::Tags(tags) => tags,
        };
        if is_open && texts.len().saturating_mul(found.len()) > max {
            return Err(TemplateError::TooMany);
        }
        texts =
            texts.iter().flat_map(|text| found.iter().map(move |value| text.replace(place, value))).collect();
    }
    Ok(texts)
}

/// The places to fill in, braces included. Braces do not nest, and something stands between them.
fn places(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find("{{")?;
            let inner = rest.get(start + 2..)?;
            let end = inner.find('}')?;
            if end > 0 && inner.get(end..)?.starts_with("}}") {
                let place = rest.get(start..start + 2 + end + 2)?;
                rest = inner.get(end + 2..)?;
                return Some(place);
            }
            rest = rest.get(start + 1..)?;
        }
    })
}

/// What is filled in.
struct Values<'a> {
    user: &'a UserClaims,
    account: &'a AccountClaims,
}

enum Found {
    One(String),
    Tags(Vec<String>),
}

impl Values<'_> {
    fn of(&self, place: &str) -> Result<Found, TemplateError> {
        let word = place.trim_start_matches("{{").trim_end_matches("}}").trim();
        let lower = word.to_ascii_lowercase();
        let one = |text: &str| Ok(Found::One(text.to_owned()));
        match lower.as_str() {
            "name()" => return one(&self.user.name),
            "subject()" => return one(&self.user.sub),
            "account-name()" => return one(&self.account.name),
            "account-subject()" => return one(&self.user.nats.issuer_account),
            _ => {}
        }
        for (prefix, tags) in [("tag(", &self.user.nats.tags), ("account-tag(", &self.account.nats.tags)] {
            if let Some(name) = lower.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')')) {
                let wanted = format!("{name}:");
                let values = tags.iter().filter_map(|tag| tag.strip_prefix(&wanted));
                return Ok(Found::Tags(values.map(str::to_owned).collect()));
            }
        }
        Err(TemplateError::Operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(allow: &[&str], deny: &[&str]) -> Result<(Vec<String>, Vec<String>), TemplateError> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let template =
            User { publish: Permission { allow: owned(allow), deny: owned(deny) }, ..User::default() };
        let mut user = UserClaims { name: "ada".into(), sub: "UKEY".into(), ..UserClaims::default() };
        user.nats.issuer_account = "AKEY".into();
        user.nats.tags = owned(&["team:a", "team:b", "role:x", "bad:a b"]);
        let mut account = AccountClaims { name: "acme".into(), ..AccountClaims::default() };
        account.nats.tags = owned(&["zone:1", "zone:2"]);
        fill(&template, &user, &account).map(|filled| (filled.publish.allow, filled.publish.deny))
    }

    fn allowed(text: &str) -> Vec<String> {
        filled(&[text], &[]).unwrap().0
    }

    #[test]
    fn places_are_filled_in_with_what_user_and_account_are() {
        assert_eq!(allowed("a.{{name()}}.{{subject()}}"), ["a.ada.UKEY"]);
        assert_eq!(allowed("{{ account-name() }}.{{Account-Subject()}}"), ["acme.AKEY"]);
        assert_eq!(allowed("{{tag(team)}}.x"), ["a.x", "b.x"]);
        assert_eq!(allowed("{{tag(team)}}.{{account-tag(zone)}}"), ["a.1", "a.2", "b.1", "b.2"]);
        assert_eq!(allowed("plain.*"), ["plain.*"]);
        assert_eq!(allowed("{{name()}}.{{tag(TEAM)}}.{{name()}}"), ["ada.a.ada", "ada.b.ada"]);
    }

    #[test]
    fn nothing_becomes_open_for_want_of_a_value() {
        assert_eq!(filled(&["{{tag(none)}}.x"], &[]).unwrap(), (vec![], vec![">".to_owned()]));
        assert_eq!(filled(&["{{tag(bad)}}"], &[]).unwrap(), (vec![], vec![">".to_owned()]));
        assert_eq!(filled(&[], &["{{tag(none)}}.x"]), Err(TemplateError::Subject));
        assert_eq!(filled(&["{{root()}}"], &[]), Err(TemplateError::Operation));
        assert_eq!(filled(&["{{name()}}", "a b"], &[]).unwrap().0, ["ada"]);
    }

    #[test]
    fn combinations_are_bounded() {
        let many = ["{{tag(team)}}"; 13].join(".");
        // The same place is filled in once.
        assert!(filled(&[&many], &[]).is_ok() || filled(&[&many], &[]) == Err(TemplateError::TooMany));
    }
}
