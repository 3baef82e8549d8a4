mod form;
mod real;
mod reciting;

pub(crate) use reciting::reciting;

use super::engine::tests::Alphabet;
use super::template::tests::template;
use super::vocabulary::tests::bytes;
use super::*;
use crate::api::Authorized;
use crate::api::tests::caller_of;
use crate::inference::{Kind, Model};
use strongroom_wire::digest::Sha256;

fn caller() -> Authorized {
    caller_of(CallAction::Generate, "tiny/1")
}

const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: None };

fn generator(chats: bool) -> Generator {
    let template = chats.then(|| template("{% for m in messages %}{{ m.content }}{% endfor %}"));
    Generator::new(Alphabet::default(), bytes(), template).unwrap()
}

/// A model that goes on with the alphabet, ends after `z`, and has room for 64 tokens.
pub(crate) fn alphabet() -> Model {
    Model { manifest: Sha256([1; 32]), kind: Kind::Generation(generator(true)) }
}

fn ask(asked: Asked, most: Option<usize>) -> Ask {
    Ask { asked, most, choices: 1, sampling: GREEDY, stops: Vec::new(), form: None, likeliest: None }
}

fn text(text: &str) -> Asked {
    Asked::Text(Prompt::new(text.to_owned()))
}

/// What comes of a request of one choice.
async fn answered(generator: &Generator, ask: Ask) -> Result<(String, Finish, usize)> {
    let mut answering = generator.generate(&caller(), ask).await?;
    let mut all = String::new();
    while let Some(event) = answering.next().await {
        match event? {
            Event::Text { text, .. } => all.push_str(text.expose()),
            Event::End { finish, tokens, .. } => return Ok((all, finish, tokens)),
        }
    }
    panic!("no end")
}

#[tokio::test]
async fn chat_text_and_tokens_are_gone_on_with() {
    let generator = generator(true);
    let said =
        |content: &str| Message { role: "user".into(), content: Prompt::new(content.into()), others: Vec::new() };
    let chat = Asked::Chat(Chat { messages: vec![said("u"), said("v")], tools: None });
    for asked in [chat, text("uv"), Asked::Tokens(Prompt::new(b"uv".map(u32::from).to_vec()))] {
        let answer = answered(&generator, ask(asked, None)).await.unwrap();
        assert_eq!(answer, ("wxyz".to_owned(), Finish::Stop, 5));
    }
}

#[tokio::test]
async fn prompt_and_answer_that_fit_accepted_and_one_token_more_refused() {
    let generator = generator(true);
    let caller = caller();
    let fits = |prompt: usize, most: Option<usize>| generator.generate(&caller, ask(text(&"a".repeat(prompt)), most));
    for (prompt, most) in [(63, None), (63, Some(1)), (1, Some(63))] {
        assert!(fits(prompt, most).await.is_ok(), "{prompt} {most:?}");
    }
    for (prompt, most) in [(64, None), (63, Some(2)), (1, Some(64)), (1, Some(usize::MAX))] {
        assert_eq!(fits(prompt, most).await.unwrap_err().code, Code::TooLarge, "{prompt} {most:?}");
    }
}

#[tokio::test]
async fn request_whose_tokens_take_all_of_the_memory_accepted_and_more_refused() {
    let mut generator = generator(true);
    let asked = |choices| Ask { choices, ..ask(text("a"), None) };
    // Answers of up to 512 tokens, and 64 of the prompt.
    generator.of_token = limits::GENERATION_MEMORY / (2 * 512 + 64);
    assert!(generator.generate(&caller(), asked(2)).await.is_ok());
    generator.of_token += 1;
    assert_eq!(generator.generate(&caller(), asked(2)).await.unwrap_err().code, Code::TooLarge);
    assert!(generator.generate(&caller(), asked(1)).await.is_ok());
}

#[tokio::test]
async fn what_the_model_has_no_answer_to_refused() {
    let generator = generator(false);
    let chat = Asked::Chat(Chat { messages: Vec::new(), tools: None });
    let tokens = |token: u32| Asked::Tokens(Prompt::new(vec![token]));
    for (asked, code) in [
        (chat, Code::RequestInvalid),
        (text(""), Code::RequestInvalid),
        (tokens(258), Code::RequestInvalid),
        (text(&"a".repeat(limits::API_INPUT + 1)), Code::TooLarge),
    ] {
        assert_eq!(generator.generate(&caller(), ask(asked, None)).await.unwrap_err().code, code);
    }
    assert!(generator.generate(&caller(), ask(tokens(257), None)).await.is_ok());
}

#[tokio::test]
async fn request_beyond_what_may_wait_refused_and_taken_again_afterwards() {
    let generator = generator(true);
    let all = Arc::clone(&generator.jobs).try_acquire_many_owned(u32::try_from(JOBS).unwrap()).unwrap();
    let refusal = generator.generate(&caller(), ask(text("a"), None)).await.unwrap_err();
    assert_eq!(refusal.code, Code::Busy);
    drop(all);
    assert!(answered(&generator, ask(text("a"), None)).await.is_ok());
}

#[tokio::test]
async fn identity_has_a_part_of_the_places_at_the_most_and_another_is_served_beside_it() {
    let generator = generator(true);
    let identity = Arc::from(caller().identity().to_string());
    let taken: Vec<_> = (0..JOBS / 4).map(|_| generator.shares.take(&identity).unwrap()).collect();
    assert_eq!(generator.generate(&caller(), ask(text("a"), None)).await.unwrap_err().code, Code::Busy);
    assert!(generator.shares.take(&Arc::from("another")).is_ok());
    drop(taken);
    assert!(answered(&generator, ask(text("a"), None)).await.is_ok());
}

#[tokio::test]
async fn answer_nobody_waits_for_gives_its_place_back() {
    let generator = generator(true);
    let answering = generator.generate(&caller(), ask(text("a"), None)).await.unwrap();
    drop(answering);
    let all = generator.jobs.acquire_many(u32::try_from(JOBS).unwrap()).await;
    assert!(all.is_ok());
}

#[tokio::test]
async fn answer_of_a_thread_that_panics_ends_in_a_refusal() {
    let generator = generator(true);
    let refusal = answered(&generator, ask(text("?"), None)).await.unwrap_err();
    assert_eq!(refusal.code, Code::RuntimeFailed);
    generator.ended().await;
    assert!(!generator.is_alive());
    assert_eq!(generator.generate(&caller(), ask(text("a"), None)).await.unwrap_err().code, Code::RuntimeFailed);
}

#[tokio::test]
async fn calls_of_another_kind_of_model_refused() {
    let model = alphabet();
    assert!(model.generator().is_ok());
    let refusal = model.embedder().unwrap_err();
    assert_eq!((refusal.code, refusal.got.as_deref()), (Code::RequestInvalid, Some("a model that generates text")));
    let model = crate::inference::tests::counting();
    assert!(model.embedder().is_ok());
    assert_eq!(model.generator().unwrap_err().code, Code::RequestInvalid);
}
