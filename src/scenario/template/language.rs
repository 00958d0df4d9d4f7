//! Which tags, blocks and filters there are. What is not listed here cannot be used.

use std::fmt;
use std::sync::LazyLock;

use liquid_core::parser::{FilterArguments, ParameterReflection};
use liquid_core::{
    Filter, FilterReflection, Language, ParseBlock, ParseFilter, ParseTag, Result, Runtime, Value,
    ValueView,
};
use liquid_lib::stdlib;

use super::filters;
use super::for_block::ForBlock;
use super::runtime::{Bounds, size};

/// The language, the same for every template.
pub(super) fn language() -> &'static Language {
    static LANGUAGE: LazyLock<Language> = LazyLock::new(build);
    &LANGUAGE
}

fn build() -> Language {
    let mut language = Language::empty();
    let blocks: [Box<dyn ParseBlock>; 8] = [
        Box::new(ForBlock),
        Box::new(stdlib::IfBlock),
        Box::new(stdlib::UnlessBlock),
        Box::new(stdlib::CaseBlock),
        Box::new(stdlib::CaptureBlock),
        Box::new(stdlib::CommentBlock),
        Box::new(stdlib::RawBlock),
        Box::new(stdlib::IfChangedBlock),
    ];
    for block in blocks {
        let name = block.reflection().start_tag().to_owned();
        language.blocks.register(name, block);
    }
    let tags: [Box<dyn ParseTag>; 6] = [
        Box::new(stdlib::AssignTag),
        Box::new(stdlib::BreakTag),
        Box::new(stdlib::ContinueTag),
        Box::new(stdlib::CycleTag),
        Box::new(stdlib::IncrementTag),
        Box::new(stdlib::DecrementTag),
    ];
    for tag in tags {
        let name = tag.reflection().tag().to_owned();
        language.tags.register(name, tag);
    }
    // The library's filters that neither panic nor read the machine's clock; ours take the place of the
    // others.
    let of_library: [Box<dyn ParseFilter>; 30] = [
        Box::new(stdlib::Append),
        Box::new(stdlib::AtLeast),
        Box::new(stdlib::AtMost),
        Box::new(stdlib::Capitalize),
        Box::new(stdlib::Compact),
        Box::new(stdlib::Concat),
        Box::new(stdlib::Default),
        Box::new(stdlib::Downcase),
        Box::new(stdlib::Escape),
        Box::new(stdlib::EscapeOnce),
        Box::new(stdlib::First),
        Box::new(stdlib::Last),
        Box::new(stdlib::Lstrip),
        Box::new(stdlib::Map),
        Box::new(stdlib::NewlineToBr),
        Box::new(stdlib::Prepend),
        Box::new(stdlib::Remove),
        Box::new(stdlib::RemoveFirst),
        Box::new(stdlib::ReplaceFirst),
        Box::new(stdlib::Reverse),
        Box::new(stdlib::Rstrip),
        Box::new(stdlib::Size),
        Box::new(stdlib::Split),
        Box::new(stdlib::Strip),
        Box::new(stdlib::StripHtml),
        Box::new(stdlib::StripNewlines),
        Box::new(stdlib::Upcase),
        Box::new(stdlib::UrlDecode),
        Box::new(stdlib::UrlEncode),
        Box::new(stdlib::Where),
    ];
    for filter in of_library.into_iter().chain(filters::ours()) {
        let bounded = Bounded(filter);
        let name = bounded.name().to_owned();
        language.filters.register(name, Box::new(bounded));
    }
    language
}

/// A filter whose result counts against the bounds.
#[derive(Clone)]
struct Bounded(Box<dyn ParseFilter>);

impl FilterReflection for Bounded {
    fn name(&self) -> &str {
        self.0.reflection().name()
    }

    fn description(&self) -> &str {
        self.0.reflection().description()
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        self.0.reflection().positional_parameters()
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        self.0.reflection().keyword_parameters()
    }
}

impl ParseFilter for Bounded {
    fn parse(&self, arguments: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        Ok(Box::new(BoundedFilter(self.0.parse(arguments)?)))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

#[derive(Debug)]
struct BoundedFilter(Box<dyn Filter>);

impl fmt::Display for BoundedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Filter for BoundedFilter {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        let value = self.0.evaluate(input, runtime)?;
        runtime.registers().get_mut::<Bounds>().make(size(&value))?;
        Ok(value)
    }
}
