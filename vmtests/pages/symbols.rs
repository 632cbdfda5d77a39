//! The kernel's symbols, of `/proc/kallsyms`: by name and by address.

/// Symbols in the order of their addresses.
pub struct Symbols(Vec<Symbol>);

/// A symbol's address and name.
pub struct Symbol {
    /// Virtual address.
    pub address: u64,
    /// Its name, with the module's in brackets.
    pub name: String,
}

/// No symbol is larger: an address further behind one belongs to none.
const SYMBOL_BYTES_MAX: u64 = 1 << 20;

impl Symbols {
    /// Parses lines of `ADDRESS TYPE NAME [MODULE]`. Lines of another form are skipped.
    pub fn parse(text: &str) -> Self {
        let symbol = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let name = words.nth(1)?;
            let name = words.next().map_or_else(|| name.to_string(), |module| format!("{name} {module}"));
            Some(Symbol { address, name })
        };
        let mut symbols: Vec<Symbol> = text.lines().filter_map(symbol).filter(|symbol| symbol.address != 0).collect();
        symbols.sort_by_key(|symbol| symbol.address);
        Symbols(symbols)
    }

    /// The address of a symbol.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.address)
    }

    /// The symbol that an address belongs to, with the distance from its beginning: `name+0x1c`.
    pub fn name(&self, address: u64) -> Option<String> {
        let after = self.0.partition_point(|symbol| symbol.address <= address);
        let last = self.0[..after].last()?;
        let distance = address - last.address;
        match distance {
            0 => Some(last.name.clone()),
            1..SYMBOL_BYTES_MAX => Some(format!("{}+{distance:#x}", last.name)),
            _ => None,
        }
    }

    /// Names of the symbols in a range of addresses, and of the one that reaches into it: the first three, and how many more.
    pub fn list(&self, from: u64, to: u64) -> String {
        const SHOWN: usize = 3;
        let first = self.0.partition_point(|symbol| symbol.address <= from).saturating_sub(1);
        let end = self.0.partition_point(|symbol| symbol.address < to).max(first);
        let names: Vec<&str> = self.0[first..end].iter().map(|symbol| symbol.name.as_str()).collect();
        match names.len() {
            0..=SHOWN => names.join(", "),
            n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        Symbols::parse(
            "ffffffff81001000 T second\nffffffff81000000 t first\n0000 A nothing\nffffffffc0001000 t third\t[module]\n",
        )
    }

    #[test]
    fn an_address_is_named_by_the_symbol_before_it() {
        let symbols = symbols();
        assert_eq!(symbols.name(0xffff_ffff_8100_0010).as_deref(), Some("first+0x10"));
        assert_eq!(symbols.name(0xffff_ffff_8100_1000).as_deref(), Some("second"));
        assert_eq!(symbols.name(0xffff_ffff_c000_1001).as_deref(), Some("third [module]+0x1"));
        assert_eq!(symbols.name(0xffff_ffff_8000_0000), None, "before the first");
        assert_eq!(symbols.name(0xffff_ffff_9100_1000), None, "far behind the last");
        assert_eq!(symbols.address("second"), Some(0xffff_ffff_8100_1000));
    }

    #[test]
    fn a_page_lists_the_symbols_in_it_and_the_one_that_reaches_into_it() {
        assert_eq!(symbols().list(0xffff_ffff_8100_0800, 0xffff_ffff_8100_1800), "first, second");
        assert_eq!(symbols().list(0xffff_ffff_8100_1800, 0xffff_ffff_8100_2800), "second");
    }
}
