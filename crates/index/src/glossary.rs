//! What would this query be in English, word by word?
//!
//! Tools describe themselves in English; people ask in their own language. A model of the size that fits here knows little but
//! English, and search by words knows none. `glossary.tsv` holds what tools do and are about in twelve languages: enough to
//! find "delete" and "file" in a sentence, not to translate it.
//!
//! 1. A query is taken as of another language by its script, or by that language's function words where it has no English one.
//! 2. In doubt it is English, and nothing happens to it.
//! 3. The longest entry wins, and the order of the query is kept.
//! 4. The same text gives the same words, always.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use crate::analyser::{self, Analyser, is_function_word};

/// The words of a query in English, in its order, or `None` for what is English already or not in the glossary.
pub fn gloss(text: &str) -> Option<String> {
    let reading = read(text)?;
    let mut words: Vec<&str> = Vec::new();
    for word in reading.glossed.iter().filter_map(|glossed| glossed.english.first()) {
        if !words.contains(word) {
            words.push(word);
        }
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// What to embed for a query: its text, with its words in English behind it where it is not English. The text itself stands
/// first, so that places in the one are places in the other.
pub fn with_gloss(text: &str) -> std::borrow::Cow<'_, str> {
    let text = text.trim_end();
    gloss(text).map_or(text.into(), |gloss| format!("{text} ({gloss})").into())
}

/// A query of another language.
pub(crate) struct Reading {
    /// What of it is in the glossary, in its order.
    pub(crate) glossed: Vec<Glossed>,
    /// The language's function words.
    pub(crate) fillers: &'static HashSet<&'static str>,
    /// Whether it is written without spaces between words, or with particles at their end.
    pub(crate) dense: bool,
}

impl Reading {
    /// Whether a word, in small letters, is in the glossary.
    pub(crate) fn is_glossed(&self, word: &str) -> bool {
        self.glossed.iter().any(|glossed| glossed.from.split(' ').any(|part| part == word))
    }
}

/// A word or phrase of a query and its English.
pub(crate) struct Glossed {
    /// As in the query, in small letters and without accents.
    pub(crate) from: String,
    /// Words or phrases of about this meaning, the most usual first.
    pub(crate) english: &'static [&'static str],
}

/// Reads a query with the glossary, unless it is English.
pub(crate) fn read(text: &str) -> Option<Reading> {
    let words = words(text);
    let glossary = glossary();
    let language = glossary.language_of(text, &words[..words.len().min(TELLING)])?;
    let dense = language >= Language::Chinese;
    let glossed = glossary.look_up(language, &words);
    Some(Reading { glossed, fillers: &glossary.function_words[language as usize], dense })
}

/// The glossary's languages, in the order of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Language {
    German,
    French,
    Spanish,
    Portuguese,
    Italian,
    Dutch,
    Polish,
    Russian,
    Turkish,
    Chinese,
    Japanese,
    Korean,
}

const N_LANGUAGES: usize = 12;

impl Language {
    const ALL: [Self; N_LANGUAGES] = [
        Self::German,
        Self::French,
        Self::Spanish,
        Self::Portuguese,
        Self::Italian,
        Self::Dutch,
        Self::Polish,
        Self::Russian,
        Self::Turkish,
        Self::Chinese,
        Self::Japanese,
        Self::Korean,
    ];

    /// Those told by function words, not by script.
    fn latin() -> impl Iterator<Item = Self> {
        let has_script =
            |language: &Self| matches!(language, Self::Russian | Self::Chinese | Self::Japanese | Self::Korean);
        Self::ALL.into_iter().filter(move |language| !has_script(language))
    }

    /// Words that carry no meaning of their own, without accents.
    #[rustfmt::skip]
    fn function_words(self) -> &'static str {
        match self {
            Self::German => "der die das den dem des ein eine einen einem einer und oder ist sind nicht mir mich ich wir uns unser unsere \
                unserem mein meine meinen meinem meiner dein fur von vom mit auf im zum zur am an in aus bei nach uber bitte welche welcher \
                welches welchen wie was wo wann wer alle allen dass ob wenn dann noch auch sich es sie er ihm ihr mochte will kann konnte \
                soll gibt gib hat haben wird werden war so als um zu bis seit diese dieser dieses diesen fur hier dort ins frau herr mal",
            Self::French => "le la les l un une des du de d et ou est sont ne pas me moi mon ma mes notre nos votre vos je j nous vous il elle \
                on ce cet cette ces c qui que qu quoi quel quelle quels quelles dans sur avec pour par sans vers chez a au aux en y se s si \
                comment quand combien tout tous toute toutes plus ai as avons avez besoin peux veux svp",
            Self::Spanish => "el la los las un una unos unas de del al y o es son no me mi mis nuestro nuestra su sus yo que quien cual cuales \
                como cuando donde cuanto en con por para sin sobre desde hasta a se si lo le les este esta estos estas ese esa todos todas \
                todo toda mas hay puedes quiero favor esto muy",
            Self::Portuguese => "o os as um uma uns umas de do da dos das no na nos nas ao aos e ou sao nao me meu minha meus minhas nosso \
                nossa seu sua eu que quem qual quais como quando onde quanto em com por pelo pela para pra sem sobre desde ate a se este \
                esta esse essa todos todas todo mais ha voce quero favor isso isto",
            Self::Italian => "il lo la i gli le l un uno una di del dello della dei degli delle al allo alla ai agli alle dal dalla nel nella \
                nei nelle sul sulla e o sono non mi mio mia miei mie nostro nostra suo sua io che chi quale quali come quando dove quanto \
                in con per senza su da a si se questo questa questi queste tutti tutte tutto piu posso voglio favore",
            Self::Dutch => "de het een en of is zijn niet mij me mijn ik wij ons onze jouw voor van met op in aan uit bij naar over door tot \
                te om als dan dat die dit deze welke welk hoe wat waar wanneer wie alle alles er wil kan moet graag alsjeblieft ook nog",
            Self::Polish => "i w z na do od po za o u ze dla przez przed pod nad bez jest sa nie mi mnie moj moja moje moich mojego nasz \
                nasza ja ty on ona ten ta to te tego tej tych jaki jaka jakie ktory ktora ktore jak co gdzie kiedy kto czy wszystkie \
                wszystkich prosze sie oraz lub chce moge",
            Self::Russian => "и в на с по из за к о у от до для без не мне меня мои моя мое моего наш я ты он она мы вы это этот эта эти что \
                кто как где когда какои какая какие какую сколько все всех пожалуиста со об во ли или",
            Self::Turkish => "ve ile bir bu su o icin gibi kadar mi mu misin musun ben benim bana beni biz bizim bize sen hangi ne nasil \
                nerede kim tum butun her lutfen var yok olan olarak da de en cok daha uzerinde icinde adli",
            Self::Chinese | Self::Japanese | Self::Korean => "",
        }
    }
}

/// Function words that stand in names and titles everywhere, or are English words of their own: half a sign.
const WEAK: &str = "a al am an as at com da das de del den der des di die do dos du e el en fur gib hat i il in is l la las le les lo los \
    ma man me mi mon no o of on over per pour s san se si so son sur te ten to van von war was will y als d c j u w z ai te ons per sin \
    once on come non con con ne her si su ben sen var can door tot of op met mal ins";

/// English words that tell as much as function words, for they begin requests and are in no other language here.
const ENGLISH: &str = "find get give make take look tell help using use every without between after new via per";

/// So many words at the head of a text tell its language.
const TELLING: usize = 60;

/// Signs of another language that make up for doubt: a function word is one, a weak one or a word of the glossary a half.
const ENOUGH: f64 = 1.5;

/// The words of a text, in small letters, without accents.
fn words(text: &str) -> Vec<String> {
    // Bounded like everything from outside: no query needs more.
    const MOST: usize = 400;
    let split = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    split.take(MOST).map(analyser::folded).collect()
}

#[derive(Default)]
struct Glossary {
    entries: Vec<&'static [&'static str]>,
    /// By language: form → entry.
    whole: [HashMap<String, usize>; N_LANGUAGES],
    /// By language: beginning of a form → entry.
    begins: [HashMap<String, usize>; N_LANGUAGES],
    function_words: [HashSet<&'static str>; N_LANGUAGES],
    weak: HashSet<&'static str>,
    /// The stem of every word of the English side.
    english: HashSet<String>,
    /// English verbs.
    verbs: HashSet<&'static str>,
}

/// Most words of a phrase.
const MAX_PHRASE: usize = 4;

fn glossary() -> &'static Glossary {
    static GLOSSARY: OnceLock<Glossary> = OnceLock::new();
    GLOSSARY.get_or_init(|| Glossary::read(include_str!("glossary.tsv")))
}

impl Glossary {
    fn read(table: &'static str) -> Self {
        let mut glossary = Self { weak: WEAK.split_whitespace().collect(), ..Self::default() };
        for language in Language::ALL {
            glossary.function_words[language as usize] = language.function_words().split_whitespace().collect();
        }
        let mut analyser = Analyser::default();
        glossary.english.extend(ENGLISH.split(' ').map(|word| analyser.stem(word)));
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let mut cells = line.split('\t');
            let (Some(kind), Some(english)) = (cells.next(), cells.next()) else { continue };
            let at = glossary.entries.len();
            // Read once for the life of the process.
            glossary.entries.push(Vec::leak(english.split('/').collect()));
            glossary.english.extend(english.split(['/', ' ']).map(|word| analyser.stem(word)));
            if kind == "v" {
                glossary.verbs.extend(english.split('/'));
            }
            for (language, forms) in Language::ALL.into_iter().zip(cells) {
                for form in forms.split(',') {
                    let of = if form.ends_with('*') { &mut glossary.begins } else { &mut glossary.whole };
                    of[language as usize].entry(words(form).join(" ")).or_insert(at);
                }
            }
        }
        glossary
    }

    fn language_of(&self, text: &str, words: &[String]) -> Option<Language> {
        let english = |word: &String, of: &dyn Fn(&str) -> bool| is_function_word(word) && !of(word);
        if let Some(language) = script(text) {
            let latin = || words.iter().filter(|word| word.bytes().any(|b| b.is_ascii_alphabetic()));
            let asked_in_english = latin().next().is_some_and(|word| self.verbs.contains(word.as_str()));
            let is_english = asked_in_english || latin().any(|word| english(word, &|_| false));
            return (!is_english).then_some(language);
        }
        let function_words: Vec<&str> =
            words.iter().map(String::as_str).filter(|word| is_function_word(word)).collect();
        let possible = |language: &Language| {
            let own = &self.function_words[*language as usize];
            function_words.iter().all(|word| own.contains(word))
        };
        let mut languages = Language::latin().filter(possible).peekable();
        // Nearly every query ends here, and all that follows costs more than the rest of reading it.
        languages.peek()?;
        let mut analyser = Analyser::default();
        // Endings count for nothing here: `payments` and `created` are English too.
        let is_english: HashSet<&str> = words
            .iter()
            .filter(|word| is_function_word(word) || self.english.contains(&analyser.stem(word)))
            .map(String::as_str)
            .collect();
        let mut best = None;
        for language in languages {
            let own = &self.function_words[language as usize];
            let foreign = |word: &str| !is_english.contains(word);
            let found = self.look_up(language, words);
            let n_entries = found.iter().filter(|glossed| foreign(&glossed.from) && glossed.from.len() > 3).count();
            let known = |word: &String| own.contains(word.as_str());
            let n_weak = words.iter().filter(|word| known(word) && self.weak.contains(word.as_str())).count();
            let strong = |word: &&String| known(word) && !self.weak.contains(word.as_str()) && foreign(word);
            let n_strong = words.iter().filter(strong).count();
            let n_english = words.iter().filter(|word| is_english.contains(word.as_str()) && !known(word)).count();
            let score = n_strong as f64 + 0.5 * n_weak.min(3) as f64 + 0.5 * n_entries as f64;
            let sure = (n_strong > 0 || n_entries > 1) && score >= ENOUGH && score > n_english as f64;
            if sure && best.is_none_or(|(_, most)| score > most) {
                best = Some((language, score));
            }
        }
        best.map(|(language, _)| language)
    }

    /// The entries that stand in a text, in its order.
    fn look_up(&self, language: Language, words: &[String]) -> Vec<Glossed> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.len() {
            if matches!(language, Language::Chinese | Language::Japanese) {
                found.extend(self.inside(language, &words[at]));
                at += 1;
                continue;
            }
            let longest = MAX_PHRASE.min(words.len() - at);
            // Function words mean nothing by themselves, whatever else they are spelled like.
            let filler = self.function_words[language as usize].contains(words[at].as_str());
            let phrase = (1 + usize::from(filler)..=longest).rev().find_map(|n| {
                let from = words[at..at + n].join(" ");
                let entry = self.entry(language, &from, from.len() - words[at + n - 1].len())?;
                Some((n, Glossed { from, english: self.entries[entry] }))
            });
            let n = phrase.as_ref().map_or(1, |(n, _)| *n);
            found.extend(phrase.map(|(_, glossed)| glossed));
            at += n;
        }
        found
    }

    /// The entry of a word or phrase: as it is, or by its longest beginning that ends in the last word.
    fn entry(&self, language: Language, from: &str, last: usize) -> Option<usize> {
        if let Some(entry) = self.whole[language as usize].get(from) {
            return Some(*entry);
        }
        let ends = from.char_indices().map(|(i, c)| i + c.len_utf8()).filter(|end| *end > last);
        let ends: Vec<usize> = ends.collect();
        ends.into_iter().rev().find_map(|end| self.begins[language as usize].get(&from[..end]).copied())
    }

    /// The entries inside a run of text without spaces, the longest at each place.
    fn inside(&self, language: Language, run: &str) -> Vec<Glossed> {
        const LONGEST: usize = 12;
        let chars: Vec<char> = run.chars().collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let longest = LONGEST.min(chars.len() - at);
            let entry = (1..=longest).rev().find_map(|n| {
                // One character alone is a word only where its neighbours are not of the same word.
                let apart = |c: Option<&char>| c.is_none_or(|c| !is_han(*c) || PARTICLES.contains(*c));
                if n == 1 && !(apart(at.checked_sub(1).map(|i| &chars[i])) && apart(chars.get(at + 1))) {
                    return None;
                }
                let from: String = chars[at..at + n].iter().collect();
                let entry = *self.whole[language as usize].get(&from)?;
                Some((n, Glossed { from, english: self.entries[entry] }))
            });
            at += entry.as_ref().map_or(1, |(n, _)| *n);
            found.extend(entry.map(|(_, glossed)| glossed));
        }
        found
    }
}

/// Chinese characters that stand between words.
const PARTICLES: &str = "的里把在给了个吗到和是将从对与一这那我你";

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}')
}

/// The language of a text by its script, where it is not Latin.
fn script(text: &str) -> Option<Language> {
    let count = |of: &dyn Fn(char) -> bool| text.chars().filter(|&c| of(c)).count();
    let hangul = count(&|c| matches!(c, '\u{AC00}'..='\u{D7AF}'));
    let kana = count(&|c| matches!(c, '\u{3040}'..='\u{30FF}'));
    let han = count(&is_han);
    let cyrillic = count(&|c| matches!(c, '\u{400}'..='\u{4FF}'));
    match () {
        () if hangul >= 2 => Some(Language::Korean),
        () if kana >= 2 => Some(Language::Japanese),
        () if han >= 2 => Some(Language::Chinese),
        () if cyrillic >= 4 => Some(Language::Russian),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(gloss(text).unwrap_or_default(), expect, "{text}");
    }

    #[test]
    fn the_table_is_whole() {
        let table = include_str!("glossary.tsv");
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let cells: Vec<&str> = line.split('\t').collect();
            assert_eq!(cells.len(), 2 + N_LANGUAGES, "{line}");
            let begins = cells[2..].iter().flat_map(|cell| cell.split(',')).filter_map(|form| form.strip_suffix('*'));
            let short = |form: &str| analyser::folded(form).bytes().filter(u8::is_ascii_alphabetic).count() < 4;
            let latin = |form: &str| analyser::folded(form).bytes().any(|b| b.is_ascii_alphabetic());
            assert!(!begins.into_iter().any(|form| latin(form) && short(form)), "too short a beginning: {line}");
            assert!(matches!(cells[0], "v" | "n") && cells.iter().all(|cell| !cell.is_empty()), "{line}");
        }
        assert!(glossary().entries.len() > 250);
    }

    #[test]
    fn words_of_twelve_languages_are_found() {
        check("Lösche bitte die alten Dateien im Ordner Fotos", "delete file folder image");
        check("Ouvre une nouvelle page dans le navigateur", "open new page browser");
        check("Elimina la rama vieja del repositorio", "delete branch repository");
        check("Envie uma mensagem para o canal vendas", "send message channel sales");
        check("Traduci questo testo in inglese, per favore", "translate text");
        check("Verwijder het bestand uit de map archief", "delete file folder");
        check("Dodaj komentarz do zadania na tablicy", "add comment task board");
        check("Найди последние письма от Анны", "search recent email");
        check("Bu tabloya yeni bir satır ekle", "table new row add");
        check("删除数据库里的用户", "delete database user");
        check("ファイルをフォルダに移動して", "file folder move");
        check("캘린더에 일정을 추가해 줘", "calendar schedule add");
    }

    #[test]
    fn english_stays_as_it_is() {
        for text in [
            "list the files in the folder",
            "get directions from Rue de la Paix to Place de la Bastille",
            "Los Angeles weather",
            "translate こんにちは to English",
            "Translate 你好世界",
            "what is the capital of Côte d'Ivoire",
            "San Francisco de la Cruz restaurants",
            "create_issue",
            "die hat format table",
            "book hotel Rio de Janeiro",
            "PayPal payments between two dates",
            "cancel a cal.com booking",
            "send an email to Der Spiegel",
            "",
        ] {
            check(text, "");
            assert_eq!(with_gloss(text), text);
        }
    }

    /// Hundreds of requests that people would write in English, slips, names and identifiers among them.
    #[test]
    fn the_english_of_our_own_queries_is_never_touched() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../evals/real/queries.jsonl");
        let mut n_english = 0;
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let query: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = query["query"].as_str().unwrap();
            let is_german = text == "Benenne den Slack-Kanal #alt in #archiv um";
            if query["slice"] != "language" && !is_german {
                check(text, "");
                n_english += 1;
            }
        }
        assert!(n_english > 400);
    }

    #[test]
    fn the_text_stands_before_its_gloss() {
        assert_eq!(with_gloss("删除文件 "), "删除文件 (delete file)");
    }

    proptest! {
        #[test]
        fn reading_never_fails_and_repeats(text in "\\PC{0,80}|[a-zäéß ]{0,60}|[一-三的文件夹ファイルを파일 ]{0,20}") {
            prop_assert_eq!(gloss(&text), gloss(&text));
            prop_assert!(with_gloss(&text).starts_with(text.trim_end()));
        }
    }
}
