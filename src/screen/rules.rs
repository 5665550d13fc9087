//! Rules: concepts that follow each other closely, and how much that says.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::disguise::SearchText;
use super::fold::fold;
use super::vocabulary::*;

/// Certainty, in ten-thousandths.
const CERTAIN: u32 = 10_000;
/// The weight of an attack that was hidden from readers; added once.
const DISGUISE_WEIGHT: u32 = 3_500;
/// The most concepts in one rule.
const MAX_STEPS: usize = 3;

/// Concepts in order, each at most `gap` bytes behind the one before it.
struct Rule {
    finding: &'static str,
    /// How likely an injection is when only this rule holds; ten-thousandths.
    weight: u32,
    gap: usize,
    steps: &'static [Concepts],
}

const fn rule(finding: &'static str, weight: u32, gap: usize, steps: &'static [Concepts]) -> Rule {
    Rule { finding, weight, gap, steps }
}

const TOLD: Concepts = INSTRUCTIONS | LIMITS;

/// Rules with the same finding count once, with the highest weight that holds.
const RULES: &[Rule] = &[
    rule("injection.override", 8_500, 32, &[DROP, PRIOR, INSTRUCTIONS]),
    rule("injection.override", 8_500, 24, &[PRIOR, INSTRUCTIONS, DROP]),
    rule("injection.override", 7_500, 20, &[DROP, PRIOR, LIMITS]),
    rule("injection.override", 5_000, 16, &[PRIOR, LIMITS, DROP]),
    rule("injection.override", 7_500, 12, &[DROP, INSTRUCTIONS, PRIOR]),
    rule("injection.override", 6_000, 12, &[DROP, ALL, INSTRUCTIONS]),
    rule("injection.override", 4_000, 12, &[DROP, ALL, LIMITS]),
    rule("injection.override", 3_000, 4, &[DROP, TOLD]),
    rule("injection.override", 5_000, 12, &[WEAK_DROP, PRIOR, TOLD]),
    rule("injection.override", 7_500, 0, &[OVERRIDE_PHRASE]),
    rule("injection.new_orders", 3_000, 0, &[NEW_ORDERS]),
    rule("injection.role", 7_500, 60, &[PLAY, UNBOUND | FREE_MACHINE]),
    rule("injection.role", 7_500, 60, &[BE, FREE_MACHINE]),
    rule("injection.role", 7_500, 40, &[PLAY | BE, PERSONA]),
    rule("injection.role", 7_500, 60, &[PERSONA, PLAY | BE | UNBOUND | FREE_MACHINE]),
    rule("injection.role", 7_500, 80, &[MODE, UNBOUND | FREE_MACHINE]),
    rule("injection.role", 4_000, 0, &[PERSONA]),
    rule("injection.role", 3_000, 24, &[BE | PLAY, MODE]),
    rule("injection.role", 7_500, 40, &[NEW_ORDERS, BE, UNBOUND]),
    rule("injection.unbound", 3_500, 0, &[UNBOUND]),
    rule("injection.unbound", 5_000, 0, &[FREE_MACHINE]),
    rule("injection.authority", 4_500, 0, &[AUTHORITY]),
    rule("injection.authority", 7_500, 60, &[AUTHORITY, BE | WEAK_DROP | DROP, LIMITS | MODE]),
    rule("injection.obey", 3_500, 0, &[OBEY]),
    rule("injection.exfiltration", 8_000, 40, &[SHOW, HIDDEN_TEXT]),
    rule("injection.exfiltration", 7_500, 24, &[HIDDEN_TEXT, SHOW]),
    rule("injection.exfiltration", 7_500, 16, &[ASK, HIDDEN_TEXT]),
    rule("injection.exfiltration", 7_500, 24, &[SHOW, OWN_INSTRUCTIONS]),
    rule("injection.exfiltration", 7_500, 40, &[SHOW, TEXT_ABOVE, VERBATIM]),
    rule("injection.exfiltration", 4_000, 40, &[SHOW, TEXT_ABOVE]),
    rule("injection.exfiltration", 3_000, 0, &[HIDDEN_TEXT]),
    rule("injection.markup", 5_000, 0, &[MARKUP]),
    rule("injection.markup", 7_500, 60, &[MARKUP, MARKUP]),
    rule("injection.markup", 3_000, 0, &[XML_MARKUP]),
    rule("injection.markup", 7_500, 24, &[XML_MARKUP | BREAKOUT, NEW_ORDERS]),
    rule("injection.breakout", 5_000, 0, &[BREAKOUT]),
    rule("injection.tools", 7_500, 60, &[SEND, VALUABLES, ATTACKER]),
    rule("injection.tools", 6_000, 60, &[SEND, VALUABLES, OUTSIDE]),
    rule("injection.tools", 6_000, 60, &[VALUABLES, SEND, OUTSIDE | ATTACKER]),
    rule("injection.tools", 3_500, 40, &[SEND | SHOW, VALUABLES]),
    rule("injection.tools", 4_500, 24, &[ACT, DESTRUCTIVE]),
    rule("injection.concealment", 5_000, 0, &[CONCEAL]),
    rule("injection.addressed", 5_000, 0, &[ADDRESSED]),
    rule("injection.encoded", 4_500, 0, &[DECODE]),
];

struct VocabularyWord {
    /// Which concept, as the number of its bit.
    concept: usize,
    /// Whether the word may go on.
    open: bool,
}

/// One step of a rule that waits for a concept.
#[derive(Clone, Copy)]
struct RuleStep {
    rule: usize,
    step: usize,
}

/// The vocabulary as an automaton, and the rules by what they wait for.
pub(super) struct Matcher {
    automaton: Option<AhoCorasick>,
    words: Vec<VocabularyWord>,
    /// For each concept the steps that wait for it, the later ones of a rule first, so that one word is never two steps.
    steps: Vec<Vec<RuleStep>>,
    /// Concepts that rules begin with.
    openers: Concepts,
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Matcher {
    pub(super) fn new() -> Self {
        let mut words = Vec::new();
        let mut patterns = Vec::new();
        for (concept, entries) in VOCABULARY {
            for entry in *entries {
                let stem = entry.strip_suffix('*');
                // INVARIANT: our own words do not grow; one that did would match nothing.
                patterns.push(
                    fold(stem.unwrap_or(entry), None).map_or_else(|_| String::from('\0'), |(word, _)| word),
                );
                words.push(VocabularyWord {
                    concept: concept.trailing_zeros() as usize,
                    open: stem.is_some(),
                });
            }
        }
        // A fixed vocabulary of some thousand short words is far within the automaton's limits.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&patterns)
            .ok();
        let openers = RULES.iter().filter_map(|rule| rule.steps.first()).fold(0, |all, first| all | first);
        Self { automaton, words, steps: steps_by_concept(), openers }
    }

    /// Adds what holds in one view to `evidence`.
    pub(super) fn search(&self, view: SearchText<'_>, evidence: &mut Evidence) {
        let mut progress = Progress::default();
        // INVARIANT: without an automaton no text can be searched, so every text is suspicious.
        let Some(automaton) = &self.automaton else {
            return evidence.hold("screen.unavailable", CERTAIN, None);
        };
        for found in automaton.find_overlapping_iter(view.text) {
            let Some(word) = self.words.get(found.pattern().as_usize()) else { continue };
            let concept: Concepts = 1 << word.concept;
            let awaited = concept & (self.openers | progress.awaited) != 0;
            if !awaited || !(view.borderless || has_borders(view.text, found.start(), found.end(), word.open))
            {
                continue;
            }
            if concept == DROP && is_negated(view.text, found.start()) {
                continue;
            }
            for step in self.steps.get(word.concept).into_iter().flatten() {
                if let Some(rule) = progress.advance(*step, found.start(), found.end()) {
                    evidence.hold(rule.finding, rule.weight, view.disguise);
                }
            }
        }
    }
}

fn steps_by_concept() -> Vec<Vec<RuleStep>> {
    let steps_of = |concept: Concepts| {
        let steps = |(rule, one): (usize, &'static Rule)| {
            let waits = move |(_, wanted): &(usize, &Concepts)| **wanted & concept != 0;
            one.steps.iter().enumerate().rev().filter(waits).map(move |(step, _)| RuleStep { rule, step })
        };
        RULES.iter().enumerate().flat_map(steps).collect()
    };
    (0..Concepts::BITS).map(|bit| steps_of(1 << bit)).collect()
}

/// "Do not ignore the rules" asks for the opposite; "why not ignore the rules" does not.
fn is_negated(text: &str, start: usize) -> bool {
    let before = text.get(..start).unwrap_or_default();
    let not = ["not ", "dont ", "never ", "not to ", "without ", "cannot ", "cant ", "avoid "];
    not.iter().any(|word| before.ends_with(word))
        && !before.ends_with("why not ")
        && !before.ends_with("why dont you ")
}

/// Whether a match is a word of its own. Scripts without spaces between words have no borders to check.
fn has_borders(text: &str, start: usize, end: usize, open: bool) -> bool {
    let continues = |character: char| character.is_alphanumeric() && !is_unspaced(character);
    let before = text.get(..start);
    let inside = text.get(start..end);
    let after = text.get(end..);
    let first = inside.and_then(|word| word.chars().next()).is_some_and(continues);
    let last = inside.and_then(|word| word.chars().next_back()).is_some_and(continues);
    let joined_before = before.and_then(|text| text.chars().next_back()).is_some_and(continues);
    let joined_after = after.and_then(|text| text.chars().next()).is_some_and(continues);
    !(first && joined_before) && (open || !(last && joined_after))
}

/// Han, kana, Hangul (decomposed by folding, with endings that join), Thai.
fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{11ff}' | '\u{e00}'..='\u{e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// The progress of each rule in one search text.
struct Progress {
    /// For each rule and number of steps, where the latest such beginning ended.
    ends: [[Option<usize>; MAX_STEPS - 1]; RULES.len()],
    /// Concepts that some beginning waits for. Most words of a text are none of them.
    awaited: Concepts,
}

impl Default for Progress {
    fn default() -> Self {
        Self { ends: [[None; MAX_STEPS - 1]; RULES.len()], awaited: 0 }
    }
}

impl Progress {
    /// Takes one step; gives the rule when it was the last.
    fn advance(&mut self, at: RuleStep, start: usize, end: usize) -> Option<&'static Rule> {
        let rule = RULES.get(at.rule)?;
        let ends = self.ends.get_mut(at.rule)?;
        if let Some(before) = at.step.checked_sub(1) {
            let before = ends.get(before).copied().flatten()?;
            if !(before..=before + rule.gap).contains(&start) {
                return None;
            }
        }
        match rule.steps.get(at.step + 1) {
            None => Some(rule),
            Some(next) => {
                *ends.get_mut(at.step)? = Some(end);
                self.awaited |= next;
                None
            }
        }
    }
}

/// The findings in all texts of the request.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    held: Vec<(&'static str, u32)>,
    disguises: BTreeSet<&'static str>,
}

impl Evidence {
    fn hold(&mut self, finding: &'static str, weight: u32, disguise: Option<&'static str>) {
        match self.held.iter_mut().find(|(name, _)| *name == finding) {
            // What the plain view shows as well was not hidden.
            Some((_, held)) if weight <= *held => return,
            Some((_, held)) => *held = weight,
            None => self.held.push((finding, weight)),
        }
        self.disguises.extend(disguise);
    }

    /// Independent pieces of evidence: what remains of the doubt is the product of the doubts.
    pub(super) fn score(&self) -> u16 {
        let disguise = (!self.disguises.is_empty()).then_some(DISGUISE_WEIGHT);
        let weights = self.held.iter().map(|(_, weight)| *weight).chain(disguise);
        let doubt = weights.fold(CERTAIN, |doubt, weight| doubt * CERTAIN.saturating_sub(weight) / CERTAIN);
        u16::try_from(CERTAIN - doubt).unwrap_or(u16::MAX)
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &'static str> {
        self.held.iter().map(|(name, _)| *name).chain(self.disguises.iter().copied())
    }
}
