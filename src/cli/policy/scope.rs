//! Which policies a report is about.

use crate::policy::Bundle;
use crate::workbench::reported::Reported;
use crate::workbench::run::TestQuestions;

/// Which policies a report is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReportScope {
    /// Also the shipped policies that stand beside one's own, with the shipped tests.
    #[arg(long)]
    pub all: bool,
}

impl ReportScope {
    pub(super) fn reported(&self, bundle: &Bundle) -> Reported {
        if self.all { Reported::all() } else { Reported::own(bundle) }
    }

    /// The tests that the shipped policies came with, when the report is about them.
    pub(super) fn add_tests(&self, bundle: &Bundle, questions: &mut TestQuestions) {
        if self.all && Reported::own(bundle).left_out(bundle) > 0 {
            questions.add_shipped(bundle);
        }
    }
}
