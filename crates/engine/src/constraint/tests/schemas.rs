//! Schemas made at random, and who judges answers to them. Tests with a model use them too.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Whether an instance is valid, as boon has it.
pub fn validates(schema: &Value, instance: &Value) -> bool {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler
        .add_resource("schema.json", schema.clone())
        .unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(instance, index).is_ok()
}

/// The schema of a seed, at most three levels deep.
pub fn made(seed: u64) -> Value {
    let mut make = Schemas {
        random: ChaCha8Rng::seed_from_u64(seed),
        definitions: serde_json::Map::new(),
    };
    let mut made = make.any(3);
    if !make.definitions.is_empty() {
        made["$defs"] = Value::Object(make.definitions);
    }
    made
}

/// Makes schemas.
struct Schemas {
    random: ChaCha8Rng,
    /// Definitions made so far.
    definitions: serde_json::Map<String, Value>,
}

impl Schemas {
    fn below(&mut self, end: usize) -> usize {
        self.random.next_u32() as usize % end
    }

    fn number(&mut self) -> i64 {
        self.below(200) as i64 - 100
    }

    fn any(&mut self, depth: usize) -> Value {
        let kinds = if depth == 0 { 7 } else { 13 };
        match self.below(kinds) {
            0 => json!({"type": "boolean"}),
            1 => json!({"type": "null"}),
            2 => {
                let low = self.number();
                let high = low + self.below(1000) as i64;
                json!({"type": "integer", "minimum": low, "maximum": high})
            }
            3 => {
                let low = self.number() as f64 / 8.0;
                json!({"type": "number", "minimum": low, "exclusiveMaximum": low + 3.5})
            }
            4 => {
                let low = self.below(4);
                json!({"type": "string", "minLength": low, "maxLength": low + self.below(9)})
            }
            5 => {
                let patterns = [
                    "^[a-z]{2,5}$",
                    "^(yes|no)$",
                    "\\d",
                    "^\\w+@\\w+\\.org$",
                    "^[^x]*$",
                ];
                let formats = ["ipv4", "uuid"];
                match self.below(2) {
                    0 => json!({"type": "string", "pattern": patterns[self.below(5)]}),
                    _ => json!({"type": "string", "format": formats[self.below(2)]}),
                }
            }
            6 => {
                let all = [
                    json!("a b"),
                    json!(1),
                    json!(null),
                    json!([1, 2]),
                    json!({"k": "ü"}),
                ];
                let count = 1 + self.below(all.len());
                json!({"enum": all[..count]})
            }
            7 | 8 => self.object(depth),
            9 => {
                let low = self.below(3);
                let items = self.any(depth - 1);
                json!({"type": "array", "items": items, "minItems": low, "maxItems": low + 2})
            }
            10 => {
                let prefix = [self.any(depth - 1), self.any(depth - 1)];
                json!({"type": "array", "prefixItems": prefix, "items": false, "minItems": 1})
            }
            11 => json!({"anyOf": [self.any(depth - 1), self.any(depth - 1)]}),
            _ => {
                let name = format!("d{}", self.definitions.len());
                // Its own name is taken before those within it.
                self.definitions.insert(name.clone(), Value::Null);
                let definition = self.any(depth - 1);
                self.definitions.insert(name.clone(), definition);
                json!({"$ref": format!("#/$defs/{name}")})
            }
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let names = ["id", "name", "ü", "a\"b", "list"];
        let count = self.below(names.len() + 1);
        let mut properties = serde_json::Map::new();
        let mut required = Vec::new();
        for name in &names[..count] {
            properties.insert((*name).into(), self.any(depth - 1));
            if self.below(2) == 0 {
                required.push(*name);
            }
        }
        let additional = match self.below(3) {
            0 => json!({"type": "integer"}),
            _ => json!(false),
        };
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": additional,
        })
    }
}
