//! What is wrong with imports and exports.

use std::collections::{BTreeMap, BTreeSet};

use jetkv_go_compat::quoted;

use super::{Issues, check_info, has_wildcards};
use crate::claims::model::{Export, Import, subject_issue};
use crate::claims::token::Token;

pub(super) fn check_exports(exports: &[Option<Export>], issues: &mut Issues) {
    let (mut services, mut streams) = (Vec::new(), Vec::new());
    for export in exports {
        let Some(export) = export else {
            issues.error("null export is not allowed");
            continue;
        };
        let list = if export.kind == "service" { &mut services } else { &mut streams };
        list.push(export.subject.as_str());
        check_export(export, issues);
    }
    for (kind, subjects) in [("service", services), ("stream", streams)] {
        for (wide, narrow) in contained(&subjects) {
            let (wide, narrow) = (quoted(wide), quoted(narrow));
            issues.error(format!("{kind} export subject {wide} already exports {narrow}"));
        }
    }
}

/// Subjects that cover others of the list, with the first one that each covers. Two that are the same cover each other.
fn contained<'s>(subjects: &[&'s str]) -> BTreeMap<&'s str, &'s str> {
    let mut found = BTreeMap::new();
    for (at, narrow) in subjects.iter().enumerate() {
        let covers = subjects.iter().enumerate().filter(|(other, wide)| *other != at && covers(wide, narrow));
        for (_, wide) in covers {
            found.entry(*wide).or_insert(*narrow);
        }
    }
    found
}

/// Whether a pattern covers another one, as claims see it.
fn covers(wide: &str, narrow: &str) -> bool {
    jetkv_protocol::subject::is_subset(narrow.as_bytes(), wide.as_bytes())
}

fn check_export(export: &Export, issues: &mut Issues) {
    let (is_service, is_stream) = (export.kind == "service", export.kind == "stream");
    if !is_service && !is_stream {
        issues.error("invalid export type: \"unknown\"");
    }
    let response = export.response_type.as_str();
    if is_service && !matches!(response, "" | "Singleton" | "Chunked" | "Stream") {
        issues.error(format!("invalid response type for service: {}", quoted(response)));
    }
    if is_stream {
        if !response.is_empty() {
            issues.error(format!("invalid response type for stream: {}", quoted(response)));
        }
        if export.allow_trace {
            issues.error("AllowTrace only valid for service export");
        }
    }
    if let Some(latency) = &export.service_latency {
        if !is_service {
            issues.error("latency tracking only permitted for services");
        }
        if !(0..=100).contains(&latency.sampling) {
            issues.error("sampling percentage needs to be between 1-100");
        }
        subject_issue(&latency.results, issues);
        if has_wildcards(&latency.results) {
            issues.error("results subject can not contain wildcards");
        }
    }
    if export.response_threshold < 0 {
        issues.error("negative response threshold is invalid");
    }
    if export.response_threshold > 0 && !is_service {
        issues.error("response threshold only valid for services");
    }
    subject_issue(&export.subject, issues);
    check_token_position(export, issues);
    check_info(&export.description, &export.info_url, issues);
}

fn check_token_position(export: &Export, issues: &mut Issues) {
    let (position, subject) = (export.account_token_position, &export.subject);
    let Some(index) = position.checked_sub(1) else { return };
    if !has_wildcards(subject) {
        return issues
            .error(format!("Account Token Position can only be used with wildcard subjects: {subject}"));
    }
    match subject.split('.').nth(index) {
        None => {
            issues.error(format!("Account Token Position {position} exceeds length of subject '{subject}'"))
        }
        Some("*") => {}
        Some(token) => issues.error(format!(
            "Account Token Position {position} matches '{token}' but must match a * in: {subject}"
        )),
    }
}

pub(super) fn check_imports(imports: &[Option<Import>], own_key: &str, issues: &mut Issues) {
    let mut by_account: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for import in imports {
        let Some(import) = import else {
            issues.error("null import is not allowed");
            continue;
        };
        if import.kind == "service" {
            check_overlap(import, by_account.entry(&import.account).or_default(), issues);
        }
        check_import(import, own_key, issues);
    }
}

fn check_overlap(import: &Import, known: &mut BTreeSet<String>, issues: &mut Issues) {
    let subject = [import.to.clone(), without_references(&import.local_subject), import.subject.clone()]
        .into_iter()
        .find(|subject| !subject.is_empty())
        .unwrap_or_default();
    let account = quoted(&import.account);
    for other in known.iter().filter(|other| covers(other, &subject) || covers(&subject, other)) {
        let (subject, other) = (quoted(&subject), quoted(other));
        issues.error(format!(
            "overlapping subject namespace for {subject} and {other} in same account {account}"
        ));
    }
    if !known.insert(subject.clone()) {
        let subject = quoted(&subject);
        issues.error(format!("overlapping subject namespace for {subject} in account {account}"));
    }
}

/// `$1` and so on are wildcards.
fn without_references(subject: &str) -> String {
    let tokens: Vec<&str> =
        subject.split('.').map(|token| if reference(token).is_some() { "*" } else { token }).collect();
    tokens.join(".")
}

/// The number of the wildcard that a token stands for.
fn reference(token: &str) -> Option<i64> {
    token.strip_prefix('$').and_then(|number| number.parse().ok())
}

fn check_import(import: &Import, own_key: &str, issues: &mut Issues) {
    let (is_service, is_stream) = (import.kind == "service", import.kind == "stream");
    if !is_service && !is_stream {
        issues.error("invalid import type: \"unknown\"");
    }
    if is_service && import.allow_trace {
        issues.error("AllowTrace only valid for stream import");
    }
    if import.account.is_empty() {
        issues.error("account to import from is not specified");
    }
    if !import.to.is_empty() {
        issues.warning("the field to has been deprecated (use LocalSubject instead)");
    }
    subject_issue(&import.subject, issues);
    if !import.local_subject.is_empty() {
        check_renaming(&import.local_subject, &import.subject, issues);
        if !import.to.is_empty() {
            issues.error("Local Subject replaces To");
        }
    }
    let subject = quoted(&import.subject);
    if import.share && !is_service {
        issues.error(format!(
            "sharing information (for latency tracking) is only valid for services: {subject}"
        ));
    }
    if !import.token.is_empty() {
        check_activation(import, own_key, issues);
    }
}

fn check_activation(import: &Import, own_key: &str, issues: &mut Issues) {
    let subject = quoted(&import.subject);
    let Ok(activation) = Token::activation(&import.token) else {
        return issues.error(format!("import {subject} contains an invalid activation token"));
    };
    if activation.iss != import.account && activation.nats.issuer_account != import.account {
        issues.error(format!("activation token doesn't match account for import {subject}"));
    }
    if activation.sub != own_key {
        issues.error(format!("activation token doesn't match account it is being included in, {subject}"));
    }
    if activation.nats.kind != import.kind {
        issues.error(format!(
            "mismatch between token import type {} and type of import {}",
            activation.nats.kind, import.kind
        ));
    }
    issues.0.extend(activation.issues(None).0);
    let is_mapped_service = import.kind == "service" && !import.to.is_empty();
    let wanted = if is_mapped_service { &import.to } else { &import.subject };
    if !covers(&activation.nats.subject, wanted) {
        let granted = quoted(&activation.nats.subject);
        issues.error(format!("activation token import subject {granted} doesn't match import {subject}"));
    }
}

fn check_renaming(to: &str, from: &str, issues: &mut Issues) {
    subject_issue(to, issues);
    if from.is_empty() {
        issues.error("subject cannot be empty");
    }
    if to.contains(' ') {
        issues.error(format!("subject {} cannot have spaces", quoted(to)));
    }
    let is_full = |subject: &str| subject == ">" || subject.ends_with(".>");
    if is_full(to) != is_full(from) {
        issues.error("both, renaming subject and subject, need to end or not end in >");
    }
    let wildcards = from.split('.').filter(|token| *token == "*").count();
    let mut referred = 0;
    for token in to.split('.') {
        if token == "*" {
            referred += 1;
        } else if let Some(index) = reference(token) {
            if usize::try_from(index).unwrap_or(0) > wildcards {
                let (to, from) = (quoted(to), quoted(from));
                issues.error(format!("Reference ${index} in {to} reference * in {from} that do not exist"));
            } else {
                referred += 1;
            }
        }
    }
    if referred != wildcards {
        issues.error("subject does not contain enough * or reference wildcards $[0-9]");
    }
}
