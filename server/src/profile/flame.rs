//! A flame graph as SVG: one row a call, as wide as the share of samples that had it; who is called stands above who calls.
//! Names are text, whatever is in them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Of the picture, in pixels.
const WIDTH: f64 = 1200.0;
const ROW: usize = 17;
/// Narrower calls are left out: nobody could see them.
const NARROWEST: f64 = 0.4;
/// Of a letter, about.
const LETTER: f64 = 6.6;

#[derive(Default)]
struct Call<'a> {
    samples: u64,
    calls: BTreeMap<&'a str, Call<'a>>,
}

impl<'a> Call<'a> {
    fn add(&mut self, stack: &'a [String], samples: u64) {
        self.samples += samples;
        if let Some((first, rest)) = stack.split_first() {
            self.calls.entry(first).or_default().add(rest, samples);
        }
    }

    fn depth(&self, scale: f64) -> usize {
        let seen = self.calls.values().filter(|call| call.samples as f64 * scale >= NARROWEST);
        1 + seen.map(|call| call.depth(scale)).max().unwrap_or_default()
    }
}

/// The graph of these stacks, outermost call first.
pub(super) fn graph(stacks: &BTreeMap<Vec<String>, u64>) -> String {
    let mut all = Call::default();
    for (stack, samples) in stacks {
        all.add(stack, *samples);
    }
    let scale = WIDTH / all.samples.max(1) as f64;
    let height = (all.depth(scale) + 1) * ROW;
    let mut svg = String::new();
    // Writing into a string does not fail.
    let _written = picture(&mut svg, &all, scale, height);
    svg
}

fn picture(svg: &mut String, all: &Call<'_>, scale: f64, height: usize) -> fmt::Result {
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##
    )?;
    row(svg, ("all", all), all.samples, scale, (0.0, height - ROW))?;
    svg.push_str("</svg>\n");
    Ok(())
}

fn row(svg: &mut String, (name, call): (&str, &Call<'_>), of: u64, scale: f64, (x, y): (f64, usize)) -> fmt::Result {
    let width = call.samples as f64 * scale;
    if width < NARROWEST {
        return Ok(());
    }
    let share = call.samples as f64 * 100.0 / of.max(1) as f64;
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let hue = hasher.finish() % 50;
    write!(svg, "<g><title>{} ({} samples, {share:.1} %)</title>", Escaped(name), call.samples)?;
    write!(
        svg,
        r##"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{}" fill="hsl({hue} 85% 70%)" stroke="#fff" stroke-width=".5"/>"##,
        ROW - 1
    )?;
    let letters = ((width - 4.0) / LETTER) as usize;
    if letters >= 3 {
        let shown: String = match name.char_indices().nth(letters) {
            // What a path ends with tells more than what it begins with.
            Some(_) => std::iter::once('…').chain(name.chars().skip(name.chars().count() + 1 - letters)).collect(),
            None => name.to_owned(),
        };
        write!(svg, r#"<text x="{:.1}" y="{}">{}</text>"#, x + 2.0, y + ROW - 5, Escaped(&shown))?;
    }
    svg.push_str("</g>\n");
    let mut next = x;
    for (name, inner) in &call.calls {
        row(svg, (name, inner), of, scale, (next, y.saturating_sub(ROW)))?;
        next += inner.samples as f64 * scale;
    }
    Ok(())
}

/// Text that is no markup.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => to.write_str("&amp;"),
            '<' => to.write_str("&lt;"),
            '>' => to.write_str("&gt;"),
            '"' => to.write_str("&quot;"),
            letter if letter.is_control() => to.write_char(' '),
            letter => to.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stacks: &[(&[&str], u64)]) -> String {
        let stacks =
            stacks.iter().map(|(stack, samples)| (stack.iter().map(|&name| name.to_owned()).collect(), *samples));
        graph(&stacks.collect())
    }

    #[test]
    fn calls_stand_side_by_side_above_who_called_them_as_wide_as_their_share() {
        let svg = of(&[(&["main", "read"], 30), (&["main", "write"], 10), (&["idle"], 40)]);
        let place = |name: &str| {
            let at = svg.find(&format!("<title>{name} (")).expect("a row of it");
            let attribute = |attribute: &str| -> f64 {
                let from = svg[at..].find(&format!(r#" {attribute}=""#)).expect("there") + at + attribute.len() + 3;
                svg[from..].split('"').next().and_then(|text| text.parse().ok()).expect("a number")
            };
            (attribute("x"), attribute("width"), attribute("y"))
        };
        let (all, idle, main) = (place("all"), place("idle"), place("main"));
        let (read, write) = (place("read"), place("write"));
        assert_eq!((all.0, all.1), (0.0, 1200.0));
        assert_eq!((idle.0, idle.1, main.0, main.1), (0.0, 600.0, 600.0, 600.0));
        assert_eq!((read.0, read.1, write.0, write.1), (600.0, 450.0, 1050.0, 150.0));
        assert!(all.2 > main.2 && main.2 > read.2 && (read.2 - write.2).abs() < 0.1);
        assert!(svg.contains("read (30 samples, 37.5 %)"));
    }

    #[test]
    fn a_name_is_text_and_one_that_does_not_fit_is_cut_at_its_front() {
        let name = format!("<T as {}>::poll&\u{7}", "x".repeat(500));
        let svg = of(&[(&[&name], 1)]);
        assert!(!svg.contains("<T"));
        assert!(svg.contains("&lt;T as x"), "the title has the whole name");
        assert!(svg.contains(">…x") && svg.contains("&gt;::poll&amp; </text>"));
    }

    #[test]
    fn what_nobody_could_see_is_left_out_and_nothing_at_all_is_a_picture_too() {
        let svg = of(&[(&["much"], 100_000), (&["little", "deep", "deeper"], 1)]);
        assert!(!svg.contains("little") && !svg.contains("deep"));
        assert!(of(&[]).contains("<svg"));
    }
}
