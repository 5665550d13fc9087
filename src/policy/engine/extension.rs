//! Cedar's extension values (addresses, decimals, instants, durations) from the model's.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy_core::ast::{ExtensionFunction, Literal, Name, PartialValue, Value};
use cedar_policy_core::extensions::Extensions;
use parking_lot::Mutex;

use super::types::Mismatch;
use crate::model::cedar_json::FOUR_DIGIT_YEARS;

/// The constructors, looked up once. Values of the same few texts (the score of harmless text, the loopback
/// address) are made once and shared.
#[derive(Debug)]
pub(crate) struct ExtensionValues {
    functions: HashMap<&'static str, &'static ExtensionFunction>,
    epoch: Option<Value>,
    common: HashMap<(&'static str, &'static str), Value>,
    /// The instant that was made last: requests of one millisecond share it.
    latest: Mutex<Option<(i64, Value)>>,
}

const COMMON: [(&str, &str); 4] =
    [("decimal", "0.0000"), ("decimal", "0.0"), ("ip", "127.0.0.1"), ("ip", "::1")];

impl ExtensionValues {
    pub(crate) fn new() -> Self {
        let mut functions = HashMap::new();
        for word in ["ip", "decimal", "datetime", "duration", "offset"] {
            let found = Name::parse_unqualified_name(word).ok().and_then(|name| {
                let function: &'static ExtensionFunction = Extensions::all_available().func(&name).ok()?;
                Some(function)
            });
            functions.extend(found.map(|function| (word, function)));
        }
        let mut values = Self { functions, epoch: None, common: HashMap::new(), latest: Mutex::new(None) };
        values.epoch = values.call("datetime", &[text("1970-01-01")]).ok();
        for (function, argument) in COMMON {
            if let Ok(value) = values.call(function, &[text(argument)]) {
                values.common.insert((function, argument), value);
            }
        }
        values
    }

    pub(crate) fn ip(&self, address: &Arc<str>) -> Result<Value, Mismatch> {
        self.made_of("ip", address)
    }

    pub(crate) fn decimal(&self, number: &Arc<str>) -> Result<Value, Mismatch> {
        self.made_of("decimal", number)
    }

    pub(crate) fn duration(&self, length: &Arc<str>) -> Result<Value, Mismatch> {
        self.made_of("duration", length)
    }

    /// From milliseconds. The calendar text is what Cedar reads fastest, but it has four digits for the year;
    /// beyond them the instant is counted from the epoch.
    pub(crate) fn datetime(&self, millis: i64) -> Result<Value, Mismatch> {
        if let Some((latest, value)) = &*self.latest.lock()
            && *latest == millis
        {
            return Ok(value.clone());
        }
        let value = self.instant(millis)?;
        *self.latest.lock() = Some((millis, value.clone()));
        Ok(value)
    }

    fn instant(&self, millis: i64) -> Result<Value, Mismatch> {
        if FOUR_DIGIT_YEARS.contains(&millis) {
            return self.call("datetime", &[text(&crate::clock::rfc3339(millis))]);
        }
        let epoch = self.epoch.clone().ok_or_else(|| Mismatch::new("this build knows no `datetime`"))?;
        let duration = self.call("duration", &[text(&format!("{millis}ms"))])?;
        self.call("offset", &[epoch, duration])
    }

    fn made_of(&self, function: &'static str, argument: &str) -> Result<Value, Mismatch> {
        let known = COMMON.iter().find(|(name, text)| *name == function && *text == argument);
        match known.and_then(|key| self.common.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.call(function, &[text(argument)]),
        }
    }

    fn call(&self, function: &'static str, arguments: &[Value]) -> Result<Value, Mismatch> {
        let known = self.functions.get(function);
        let known = known.ok_or_else(|| Mismatch::new(format!("this build knows no `{function}`")))?;
        match known.call(arguments) {
            Ok(PartialValue::Value(value)) => Ok(value),
            Ok(PartialValue::Residual(_)) => Err(Mismatch::new(format!("`{function}` gave no value"))),
            Err(error) => Err(Mismatch::new(error.to_string())),
        }
    }
}

fn text(text: &str) -> Value {
    Value::new(Literal::String(text.into()), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_the_same_either_way() {
        let values = ExtensionValues::new();
        let counted = |millis: i64| {
            let duration = values.call("duration", &[text(&format!("{millis}ms"))]).unwrap();
            values.call("offset", &[values.epoch.clone().unwrap(), duration]).unwrap()
        };
        let (first, last) = (*FOUR_DIGIT_YEARS.start(), *FOUR_DIGIT_YEARS.end());
        let instants = [first - 1, first, -1, 0, 1, 1_768_039_200_123, last, last + 1, i64::MAX, i64::MIN];
        for millis in instants {
            assert_eq!(values.datetime(millis).unwrap(), counted(millis), "{millis}");
        }
    }

    #[test]
    fn what_is_no_address_or_decimal_is_refused() {
        let values = ExtensionValues::new();
        for bad in ["300.1.1.1", "", "127.0.0.1/99", "127.0.0.1:80"] {
            assert!(values.ip(&bad.into()).is_err(), "{bad}");
        }
        for bad in ["1", "1.23456", "NaN", ""] {
            assert!(values.decimal(&bad.into()).is_err(), "{bad}");
        }
        assert_eq!(values.decimal(&"0.0000".into()).unwrap(), values.decimal(&"0.000".into()).unwrap());
    }
}
