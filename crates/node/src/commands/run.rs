//! `tinderbox run`: a chat in the terminal.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use futures::StreamExt;
use tinderbox_engine::Service;
use tinderbox_protocol::{Chat, Event, Inference, Message, Prompt, Request, Sampling};

use crate::runtime::Serving;
use crate::settings::Settings;

const HELP: &str = "\
  /help               this list
  /clear              forget the conversation
  /system TEXT        set the instructions, and forget the conversation
  /temperature X      0 always takes the likeliest token
  /exit               leave (also Ctrl-D)
Ctrl-C stops an answer, or leaves.";

/// Chats, or answers the one prompt that was given or piped in.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let local = super::model(settings).await?;
    let (serving, _) = {
        let settings = settings.clone();
        let start = move || Serving::start(&settings, &local, None, |_| Ok(()));
        tokio::task::spawn_blocking(start).await??
    };
    let mut talk = Talk::new(serving.service.clone(), settings);
    let piped = !std::io::stdin().is_terminal();
    let outcome = match settings.prompt.clone() {
        Some(prompt) => talk.answer(prompt).await,
        None if piped => {
            let mut prompt = String::new();
            std::io::stdin().read_to_string(&mut prompt)?;
            talk.answer(prompt.trim_end().to_owned()).await
        }
        None => {
            eprintln!(
                "{} on {}. /help lists the commands.",
                settings.model, serving.device
            );
            talk.chat().await
        }
    };
    serving.handle().stop();
    tokio::task::spawn_blocking(move || serving.join()).await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A conversation.
struct Talk {
    service: Service,
    messages: Vec<Message>,
    sampling: Sampling,
    max_tokens: Option<usize>,
}

impl Talk {
    fn new(service: Service, settings: &Settings) -> Talk {
        let sampling = Sampling {
            temperature: settings.temperature,
            seed: settings.seed,
            ..Sampling::default()
        };
        let mut talk = Talk {
            service,
            messages: Vec::new(),
            sampling,
            max_tokens: settings.max_tokens,
        };
        talk.begin(settings.system.clone());
        talk
    }

    fn begin(&mut self, system: Option<String>) {
        self.messages.clear();
        self.messages
            .extend(system.map(|text| message("system", text)));
    }

    async fn chat(&mut self) -> anyhow::Result<()> {
        let mut lines = lines();
        loop {
            eprint!("> ");
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(line) = line else { return Ok(()) };
            let line = line.trim().to_owned();
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "" => {}
                "/help" => eprintln!("{HELP}"),
                "/exit" | "/quit" => return Ok(()),
                "/clear" => {
                    let system = self
                        .messages
                        .first()
                        .filter(|m| m.role == "system")
                        .cloned();
                    self.begin(system.and_then(|m| m.content));
                }
                "/system" => self.begin(Some(rest.to_owned()).filter(|text| !text.is_empty())),
                "/temperature" => match rest.parse::<f32>() {
                    Ok(value) if (0.0..=2.0).contains(&value) => self.sampling.temperature = value,
                    _ => eprintln!("give a number from 0 to 2"),
                },
                word if word.starts_with('/') => eprintln!("no command {word}; /help lists them"),
                _ => {
                    if let Err(error) = self.answer(line).await {
                        eprintln!("{error:#}");
                    }
                }
            }
        }
    }

    /// Streams the answer to one more turn. Ctrl-C keeps what was said so far.
    async fn answer(&mut self, text: String) -> anyhow::Result<()> {
        self.messages.push(message("user", text));
        let chat = Chat {
            messages: self.messages.clone(),
            tools: Vec::new(),
            add_generation_prompt: true,
            ..Chat::default()
        };
        let request = Request {
            id: format!("run-{}", self.messages.len()),
            prompt: Prompt::Chat(chat),
            max_tokens: self.max_tokens,
            sampling: self.sampling.clone(),
            ..Request::default()
        };
        let started = self.service.generate(request).await;
        let mut events = started.inspect_err(|_| {
            self.messages.pop();
        })?;
        let mut said = String::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = tokio::signal::ctrl_c() => None,
            };
            let text = match event {
                Some(Ok(Event::Started(_))) => continue,
                Some(Ok(Event::Token(token))) => token.text,
                Some(Ok(Event::Finished(finish))) => finish.text,
                Some(Err(error)) => {
                    // A turn without its answer would break templates that want both in turn.
                    self.messages.pop();
                    return Err(error.into());
                }
                None => break,
            };
            print!("{text}");
            std::io::stdout().flush()?;
            said.push_str(&text);
        }
        println!();
        self.messages.push(message("assistant", said));
        Ok(())
    }
}

/// The lines typed. The thread that waits for them is not waited for when the program leaves.
fn lines() -> tokio::sync::mpsc::Receiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn message(role: &str, text: String) -> Message {
    Message {
        role: role.into(),
        content: Some(text),
        ..Message::default()
    }
}
