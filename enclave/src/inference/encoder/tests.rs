use super::*;
use crate::inference::tests::files;
use std::cell::Cell;
use tokenizers::{AddedToken, Model as _, ModelWrapper, Trainer};

/// Words of one letter each, `[CLS]` and `[SEP]` around them; `more` goes into the top of the document.
fn tokenizer(more: &str) -> String {
    let head = r#"{"version":"1.0","#;
    let tail = r#""added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"decoder":null,
        "post_processor":{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]},
        "model":{"type":"WordLevel","unk_token":"[UNK]",
            "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"a":4,"b":5,"c":6,"d":7,"e":8}}}"#;
    format!("{head}{more}{tail}")
}

fn encoder(more: &str, others: &[(&str, &str)]) -> Result<Encoder> {
    let tokenizer = tokenizer(more);
    let all = [&[("tokenizer.json", tokenizer.as_str())], others].concat();
    Encoder::load(&files(&all))
}

/// An encoder of the words above, six tokens at most, for tests of what is around it.
pub(in crate::inference) fn letters() -> Encoder {
    encoder("", &[CONFIG]).unwrap()
}

const ALONE: Encode<()> = |encoder, input| Ok((encoder.encode(input)?, ()));

fn ids(encoder: &Encoder, input: Input) -> Vec<u32> {
    encoder.encode(&input).unwrap().ids.expose().clone()
}

const TRUNCATION: &str = r#""truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0},"#;
const SENTENCE: (&str, &str) = ("sentence_bert_config.json", r#"{"max_seq_length":5,"do_lower_case":false}"#);
const CONFIG: (&str, &str) = ("config.json", r#"{"max_position_embeddings":6,"hidden_size":2}"#);

#[test]
fn truncation_is_the_tokenizer_s_else_the_sentence_model_s_else_the_model_s() {
    let long = || Input::text("a b c d e a b c".into());
    assert_eq!(ids(&encoder(TRUNCATION, &[SENTENCE, CONFIG]).unwrap(), long()), [2, 4, 5, 3]);
    assert_eq!(ids(&encoder("", &[SENTENCE, CONFIG]).unwrap(), long()), [2, 4, 5, 6, 3]);
    assert_eq!(ids(&encoder("", &[CONFIG]).unwrap(), long()), [2, 4, 5, 6, 7, 3]);
    assert_eq!(encoder("", &[]).unwrap_err().code, Code::ModelUnsupported);
}

#[test]
fn length_at_the_limit_accepted_and_over_it_refused() {
    let config = |n: usize| encoder("", &[("config.json", &format!(r#"{{"max_position_embeddings":{n}}}"#))]);
    assert!(config(limits::SEQUENCE).is_ok());
    assert_eq!(config(limits::SEQUENCE + 1).unwrap_err().code, Code::ModelUnsupported);
}

#[test]
fn length_of_one_more_than_the_added_tokens_accepted_and_of_no_more_refused() {
    let truncation = |n: usize| TRUNCATION.replace(r#""max_length":4"#, &format!(r#""max_length":{n}"#));
    let stated = |n: usize| format!(r#"{{"max_seq_length":{n}}}"#);
    let text = || Input::text("a b c".into());
    assert_eq!(ids(&encoder(&truncation(3), &[]).unwrap(), text()), [2, 4, 3]);
    assert_eq!(ids(&encoder("", &[(SENTENCE.0, &stated(3))]).unwrap(), text()), [2, 4, 3]);
    for short in [0, 1, 2] {
        assert_eq!(encoder(&truncation(short), &[]).unwrap_err().code, Code::ModelUnsupported, "{short}");
        let stated = encoder("", &[(SENTENCE.0, &stated(short))]);
        assert_eq!(stated.unwrap_err().code, Code::ModelUnsupported, "{short}");
    }
}

#[test]
fn stride_and_strategy_of_the_tokenizer_are_ignored_and_its_direction_is_not() {
    let encode = |truncation: &str| {
        let encoder = encoder(truncation, &[]).unwrap();
        assert_eq!(encoder.tokenizer.get_truncation().unwrap().stride, 0);
        ids(&encoder, Input::text("a b c d e".into()))
    };
    for stride in [0, 1, 2, 9] {
        assert_eq!(encode(&TRUNCATION.replace(r#""stride":0"#, &format!(r#""stride":{stride}"#))), [2, 4, 5, 3]);
    }
    assert_eq!(encode(&TRUNCATION.replace("LongestFirst", "OnlySecond")), [2, 4, 5, 3]);
    assert_eq!(encode(&TRUNCATION.replace("Right", "Left")), [2, 7, 8, 3]);
}

/// Changes a model where it is, with what it has in its cache.
struct Change(fn(&mut ModelWrapper));

impl Trainer for Change {
    type Model = ModelWrapper;

    fn should_show_progress(&self) -> bool {
        false
    }

    fn train(&self, model: &mut ModelWrapper) -> tokenizers::Result<Vec<AddedToken>> {
        (self.0)(model);
        Ok(Vec::new())
    }

    fn feed<I, S, F>(&mut self, _: I, _: F) -> tokenizers::Result<()>
    where
        I: Iterator<Item = S> + Send,
        S: AsRef<str> + Send,
        F: Fn(&str) -> tokenizers::Result<Vec<String>> + Sync,
    {
        Ok(())
    }
}

/// How many tokens `word` is before and after `change`, which makes another number of it unless it was kept.
fn before_and_after(mut tokenizer: Tokenizer, word: &str, change: fn(&mut ModelWrapper)) -> [usize; 2] {
    let count = |tokenizer: &Tokenizer| tokenizer.get_model().tokenize(word).unwrap().len();
    let before = count(&tokenizer);
    tokenizer.train(&mut Change(change), core::iter::empty::<&str>()).unwrap();
    [before, count(&tokenizer)]
}

#[test]
fn words_are_kept_by_a_tokenizer_as_it_is_and_not_by_the_encoder() {
    let bpe = r#"{"type":"BPE","dropout":null,"unk_token":"u","continuing_subword_prefix":null,
        "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{"u":0,"a":1},"merges":[]}"#;
    let unigram = r#"{"type":"Unigram","unk_id":0,"vocab":[["u",0.0],["a",-1.0],["ab",-5.0]]}"#;
    let fuse: fn(&mut ModelWrapper) = |model| {
        let ModelWrapper::BPE(model) = model else { panic!("not BPE") };
        model.fuse_unk = true;
    };
    // Unknown letters become more likely than anything known.
    let prefer: fn(&mut ModelWrapper) = |model| {
        let ModelWrapper::Unigram(model) = model else { panic!("not Unigram") };
        model.min_score = 1000.0;
    };
    for (model, word, change, counts) in [(bpe, "xyz", fuse, [3, 1]), (unigram, "ab", prefer, [1, 2])] {
        let json = format!(r#"{{"version":"1.0","added_tokens":[],"model":{model}}}"#);
        let as_it_is = Tokenizer::from_bytes(&json).unwrap();
        assert_eq!(before_and_after(as_it_is, word, change), [counts[0]; 2]);
        let encoder = Encoder::load(&files(&[("tokenizer.json", &json), CONFIG])).unwrap();
        assert_eq!(before_and_after(encoder.tokenizer, word, change), counts);
    }
}

#[test]
fn padding_of_the_tokenizer_is_left_to_the_batch() {
    let padding = r#""padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":1,
        "pad_type_id":0,"pad_token":"[UNK]"},"#;
    let encoder = encoder(padding, &[CONFIG]).unwrap();
    assert_eq!(encoder.padding(), 1);
    assert_eq!(ids(&encoder, Input::text("a".into())), [2, 4, 3]);
}

#[test]
fn empty_text_is_its_special_tokens() {
    assert_eq!(ids(&encoder("", &[CONFIG]).unwrap(), Input::text(String::new())), [2, 3]);
}

#[test]
fn tokens_are_wrapped_and_cut_as_text_is() {
    let encoder = encoder("", &[SENTENCE]).unwrap();
    assert_eq!(ids(&encoder, Input::tokens(vec![4, 5])), ids(&encoder, Input::text("a b".into())));
    assert_eq!(ids(&encoder, Input::tokens(vec![4, 5, 6, 7, 8])), [2, 4, 5, 6, 3]);
}

#[test]
fn last_token_of_the_vocabulary_accepted_and_the_one_after_it_refused() {
    let encoder = encoder("", &[SENTENCE]).unwrap();
    assert!(encoder.encode(&Input::tokens(vec![8])).is_ok());
    let refusal = encoder.encode(&Input::tokens(vec![9])).unwrap_err();
    assert_eq!(refusal.code, Code::RequestInvalid);
    assert!(!refusal.to_string().contains('9'));
}

#[test]
fn tokens_of_a_request_at_the_limit_accepted_and_over_it_refused() {
    let encoder = encoder("", &[("config.json", r#"{"max_position_embeddings":8000}"#)]).unwrap();
    // With the two around them, 7500 tokens each.
    let mut inputs: Vec<Input> = (0..40).map(|_| Input::tokens(vec![4; 7498])).collect();
    let encode = |inputs: &[Input]| encoder.encode_all(inputs, limits::API_TOKENS, ALONE, || false);
    assert_eq!(encode(&inputs).unwrap().tokens, limits::API_TOKENS);
    inputs.push(Input::text(String::new()));
    assert_eq!(encode(&inputs).err().map(|refusal| refusal.code), Some(Code::TooLarge));
}

#[test]
fn inputs_at_the_limits_of_size_accepted_and_over_them_refused() {
    let text = |size: usize| Input::text("a".repeat(size));
    let tokens = |count: usize| Input::tokens(vec![4; count]);
    bound(&[text(limits::API_INPUT), tokens(limits::API_INPUT / 4)]).unwrap();
    assert_eq!(bound(&[text(limits::API_INPUT + 1)]).unwrap_err().code, Code::TooLarge);
    assert_eq!(bound(&[tokens(limits::API_INPUT / 4 + 1)]).unwrap_err().code, Code::TooLarge);
    let mut all: Vec<Input> = (0..limits::API_BODY / limits::API_INPUT).map(|_| text(limits::API_INPUT)).collect();
    bound(&all).unwrap();
    all.push(text(1));
    assert_eq!(bound(&all).unwrap_err().code, Code::TooLarge);
}

#[test]
fn caller_who_is_gone_gets_no_further_input_encoded() {
    let encoder = encoder("", &[CONFIG]).unwrap();
    let asked = Cell::new(0);
    let gone_at = |when: usize| {
        asked.set(0);
        let inputs: Vec<Input> = (0..3).map(|_| Input::text("a".into())).collect();
        let encoded = encoder.encode_all(&inputs, 100, ALONE, || asked.replace(asked.get() + 1) == when);
        encoded.map(|encoded| encoded.sequences.len()).map_err(|refusal| refusal.code)
    };
    assert_eq!((gone_at(3), asked.get()), (Ok(3), 3));
    assert_eq!((gone_at(1), asked.get()), (Err(Code::Network), 2));
}

#[test]
fn model_without_a_readable_tokenizer_refused() {
    assert_eq!(Encoder::load(&files(&[])).unwrap_err().code, Code::ModelUnsupported);
    assert_eq!(Encoder::load(&files(&[("tokenizer.json", "{}")])).unwrap_err().code, Code::ModelUnsupported);
}

#[test]
fn tokens_are_where_they_stand_in_the_text_in_characters_without_those_that_are_added() {
    let text = "a ☃é b 日";
    let (sequence, spans) = letters().encode_spans(&Input::text(text.into())).unwrap();
    assert_eq!(sequence.ids.expose(), letters().encode(&Input::text(text.into())).unwrap().ids.expose());
    let all: Vec<_> =
        spans.iter().map(|span| (span.index, span.word.expose().as_str(), span.start, span.end)).collect();
    // Six tokens at most, two of which are around the text.
    assert_eq!(all, [(1, "a", 0, 1), (2, "☃", 2, 3), (3, "é", 3, 4), (4, "b", 5, 6)]);
    let tokens = letters().encode_spans(&Input::tokens(vec![4])).err();
    assert_eq!(tokens.map(|refusal| refusal.code), Some(Code::RequestInvalid));
    assert_eq!(letters().join(&["a", "b"]).unwrap().expose(), "a b");
}
