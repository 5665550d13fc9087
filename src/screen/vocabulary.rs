//! The words behind the concepts that rules speak of, in the languages that attacks are seen in.
//!
//! Each entry is one word or phrase; a final `*` lets the word go on (`instruction*`). Spelling goes through the same
//! folding as the texts, so case and diacritics do not matter here either.

/// A set of concepts, one bit each.
pub(super) type Concepts = u64;

/// To ignore, forget, replace.
pub(super) const DROP: Concepts = 1;
/// What came before, what was given.
pub(super) const PRIOR: Concepts = 1 << 1;
/// Words as vague as "all" and "any".
pub(super) const ALL: Concepts = 1 << 2;
/// Instructions and prompts that a model receives.
pub(super) const INSTRUCTIONS: Concepts = 1 << 3;
/// Rules and limits of any kind.
pub(super) const LIMITS: Concepts = 1 << 4;
/// A whole phrase that replaces the instructions.
pub(super) const OVERRIDE_PHRASE: Concepts = 1 << 5;
/// The start of other orders.
pub(super) const NEW_ORDERS: Concepts = 1 << 6;
/// To be, play, pretend.
pub(super) const PLAY: Concepts = 1 << 7;
/// Without limits.
pub(super) const UNBOUND: Concepts = 1 << 8;
/// A persona or mode that exists only to have no limits.
pub(super) const PERSONA: Concepts = 1 << 9;
/// A claim to have authority over the model.
pub(super) const AUTHORITY: Concepts = 1 << 10;
/// Never to refuse.
pub(super) const OBEY: Concepts = 1 << 11;
/// To show, repeat, print.
pub(super) const SHOW: Concepts = 1 << 12;
/// The hidden text itself.
pub(super) const HIDDEN_TEXT: Concepts = 1 << 13;
/// Marks that belong to a chat template.
pub(super) const MARKUP: Concepts = 1 << 14;
/// Words that end the data and begin an order.
pub(super) const BREAKOUT: Concepts = 1 << 15;
/// To send somewhere.
pub(super) const SEND: Concepts = 1 << 16;
/// What must not leave.
pub(super) const VALUABLES: Concepts = 1 << 17;
/// A place outside.
pub(super) const OUTSIDE: Concepts = 1 << 18;
/// To keep it from the user.
pub(super) const CONCEAL: Concepts = 1 << 19;
/// Talks to the machine that reads.
pub(super) const ADDRESSED: Concepts = 1 << 20;
/// To run, call, delete.
pub(super) const ACT: Concepts = 1 << 21;
/// A command that destroys or fetches code.
pub(super) const DESTRUCTIVE: Concepts = 1 << 22;
/// "Decode this and do it".
pub(super) const DECODE: Concepts = 1 << 23;
/// A machine without limits; what no text but one about such machines says.
pub(super) const FREE_MACHINE: Concepts = 1 << 24;
/// To be, to switch on: everyday words.
pub(super) const BE: Concepts = 1 << 25;
/// A mode that real systems have too.
pub(super) const MODE: Concepts = 1 << 26;
/// What stands above, which may be harmless.
pub(super) const TEXT_ABOVE: Concepts = 1 << 27;
/// To ask for something: everyday words.
pub(super) const ASK: Concepts = 1 << 28;
/// Marks that ordinary documents have too.
pub(super) const XML_MARKUP: Concepts = 1 << 29;
/// A place that only an attack names.
pub(super) const ATTACKER: Concepts = 1 << 30;
/// To undo: everyday words.
pub(super) const WEAK_DROP: Concepts = 1 << 31;
/// The addressee's own instructions; a courier has some too.
pub(super) const OWN_INSTRUCTIONS: Concepts = 1 << 32;
/// All of it, to the letter.
pub(super) const VERBATIM: Concepts = 1 << 33;

#[rustfmt::skip] // one entry a line would be two thousand lines
pub(super) const VOCABULARY: &[(Concepts, &[&str])] = &[
    (DROP, &[
        "ignore", "ignores", "ignored", "ignoring", "disregard", "disregards", "disregarded",
        "disregarding", "forget", "forgetting", "bypass", "bypassing", "override", "overriding",
        "overrule", "neglect", "nullify", "do not follow", "dont follow", "stop following",
        "no longer follow", "do not obey", "stop obeying", "set aside", "put aside", "throw out",
        "throw away", "pay no attention to", "do not comply with", "not bound by", "supersede*",
        "no longer apply", "no longer valid", "are obsolete", "are outdated", "are hereby", "unlearn",
        // Spanish, French, German, Portuguese, Italian
        "ignora", "ignorar", "ignoren", "ignorad", "olvida", "olvide", "olvidad", "descarta", "no sigas",
        "no hagas caso", "haz caso omiso", "ignorez", "ignorer", "oublie", "oubliez", "oublier",
        "ne tiens pas compte", "ne tenez pas compte", "ne tenez aucun compte", "fais abstraction",
        "faites abstraction", "ignoriere*", "vergiss", "vergesst", "vergessen sie", "missachte*",
        "beachte nicht", "uberschreibe", "ubergehe", "esqueca", "esquece", "desconsidere", "desconsidera",
        "ignori", "dimentica", "dimenticate", "trascura", "non seguire",
        // Dutch, Polish, Swedish, Turkish, Indonesian, Vietnamese, Russian, Ukrainian
        "negeer", "vergeet", "zignoruj", "ignoruj", "zapomnij", "pomin", "ignorera", "glom", "yok say",
        "gormezden gel", "unut", "dikkate alma", "abaikan", "lupakan", "bo qua", "quen", "hay bo qua",
        "игнорируй*", "проигнорируй*", "забудь*", "не обращай внимания", "отбрось", "игноруй*", "ігноруй*",
        "забудь",
        // Chinese, Japanese, Korean, Arabic, Hindi, Persian
        "忽略", "无视", "無視", "忽視", "忽视", "忘记", "忘記", "忘掉", "不要理会", "不要遵守", "不要遵循", "抛弃", "跳过", "忘れて", "忘れろ",
        "従わない", "従わず", "무시", "잊어", "따르지 마", "تجاهل*", "انس", "انسى", "تجاوز", "अनदेखा", "नज़रअंदाज़",
        "भूल जाओ", "भूल जाएं", "भूल जाइए", "अनदेखी", "نادیده بگیر", "فراموش کن",
    ]),
    (PRIOR, &[
        "previous*", "prior", "above", "earlier", "preceding", "foregoing", "initial", "original",
        "before this", "so far", "up to now", "until now", "everything before", "you were given",
        "you have been given", "youve been given", "you were told", "you have been told",
        "youve been told", "you received", "you have received", "you got", "given to you", "told you",
        "your system", "the system", "system prompt*", "system message*", "developer", "your", "youve had",
        "youve received", "openai*", "anthropic*", "your creators", "your developer*", "provided to you",
        "anterior*", "previa*", "previo*", "que te dieron", "del sistema", "precedent*", "anterieur*",
        "ci-dessus", "tes", "vos", "du systeme", "bisherige*", "vorherige*", "vorige*", "vorangegangene*",
        "obige*", "deine", "deinen", "alle deine", "anteriores", "previas", "do sistema", "suas", "acima",
        "precedenti", "di sistema", "tue", "sopra", "vorige", "eerdere", "bovenstaande", "poprzedni*",
        "wczesniejsz*", "tidigare", "foregaende", "onceki", "sebelumnya", "truoc", "truoc do", "предыдущ*",
        "прежн*", "ранее", "выше", "все", "свои", "попередн*", "вище", "之前", "以前", "先前", "前面", "上述", "上面",
        "以上", "此前", "原来", "你的", "系统", "系統", "これまで", "今まで", "前の", "上記", "先ほど", "이전", "지금까지", "앞선", "기존",
        "위의", "السابقة", "السابق", "أعلاه", "पिछले", "पिछली", "पहले", "उपरोक्त", "ऊपर", "قبلی", "پیشین",
    ]),
    (ALL, &[
        "all", "any", "every", "everything", "whatever", "anything", "each", "the", "these", "those",
        "this", "what", "todas", "todo", "todos", "toutes", "tous", "tout", "alle", "alles", "tutte",
        "tutti", "tutto", "tudo", "wszystkie", "wszystko", "tum", "butun", "semua", "tat ca", "moi", "все",
        "всё", "усі", "всі", "所有", "全部", "一切", "任何", "すべて", "全て", "全部の", "모든", "모두", "جميع", "كل", "सभी",
        "सब", "همه", "تمام",
    ]),
    (INSTRUCTIONS, &[
        "instruction", "instructions", "directions", "prompt", "prompts", "directive", "directives",
        "system message*", "programming", "preprompt", "pre-prompt", "instrucci*", "indicaciones",
        "ordenes", "consignes", "invite", "ordres", "anweisung*", "instruktion*", "vorgaben", "befehl*",
        "aufforderung*", "instrucoes", "instrucao", "comandos", "ordens", "istruzion*", "indicazioni",
        "comandi", "instructies", "opdrachten", "instrukcj*", "polecen*", "instruktioner", "talimat*",
        "komut*", "instruksi", "perintah", "chi dan", "huong dan", "chi thi", "инструкци*", "указани*",
        "команд*", "промпт*", "інструкці*", "вказівк*", "指令", "指示", "提示", "提示词", "命令", "要求", "プロンプト",
        "지시*", "명령*", "프롬프트", "التعليمات", "تعليمات", "الأوامر", "निर्देश*", "आदेश*", "دستور*",
    ]),
    (LIMITS, &[
        "rules", "rule", "guidelines", "guideline", "guardrails", "guardrail", "safeguards",
        "restrictions", "constraints", "limitations", "protocols", "safety", "content policy", "ethics",
        "ethical guidelines", "alignment", "censorship", "reglas", "restricciones", "normas", "regles",
        "limites", "regeln", "einschrankungen", "richtlinien", "regras", "restricoes", "diretrizes",
        "regole", "restrizioni", "regels", "zasady", "ograniczenia", "kurallar*", "aturan", "quy tac",
        "правил*", "ограничени*", "规则", "規則", "限制", "约束", "規則を", "ルール", "制限", "규칙*", "제한*", "القواعد",
        "القيود", "नियम*", "قوانین",
    ]),
    (OVERRIDE_PHRASE, &[
        "ignore everything above", "ignore all of the above", "ignore everything before",
        "ignore everything you", "ignore what you were told", "ignore whatever you were told",
        "forget everything above", "forget everything you", "forget everything before",
        "forget all of the above", "forget all that", "forget what i said", "forget what you were told",
        "forget your training", "forget your rules", "forget your instructions",
        "disregard everything above", "disregard everything before", "disregard all of the above",
        "disregard everything you", "instructions are now", "prompt is now", "reset your instructions",
        "reset your context", "start over with new", "your instructions have changed",
        "your instructions have been updated", "your instructions have been replaced",
        "the rules have changed", "these instructions override", "olvida todo lo anterior",
        "oublie tout ce qui precede", "vergiss alles", "esqueca tudo", "dimentica tutto", "olvida todo",
        "忘记之前的一切", "忘记所有", "忘记你之前", "これまでの指示", "이전의 모든",
    ]),
    (NEW_ORDERS, &[
        "new instruction*", "new task", "new rules", "new role", "new directive*", "new system prompt",
        "new orders", "new objective", "new goal", "new prompt", "updated instruction*",
        "real instruction*", "actual instruction*", "your real task", "your actual task", "true task",
        "from now on", "from this point on", "from this moment", "from here on", "henceforth",
        "going forward you", "you will now", "you must now", "now you must", "now you will",
        "you shall now", "instead say", "instead output", "instead respond", "instead reply", "instead do",
        "instead write", "instead print", "respond only with", "reply only with", "only respond with",
        "only reply with", "output only", "and say", "and instead", "then say", "a partir de ahora",
        "desde ahora", "nuevas instrucciones", "desormais", "a partir de maintenant",
        "nouvelles instructions", "ab jetzt", "ab sofort", "von nun an", "neue anweisung*",
        "a partir de agora", "novas instrucoes", "da ora in poi", "nuove istruzioni", "vanaf nu",
        "od teraz", "bundan sonra", "artik", "mulai sekarang", "tu bay gio", "теперь ты", "отныне",
        "с этого момента", "новые инструкции", "从现在开始", "從現在開始", "现在开始", "新的指令", "新指令", "你现在", "今から",
        "これから", "新しい指示", "지금부터", "이제부터", "من الآن", "अब से", "از این پس",
    ]),
    (PLAY, &[
        "you are now", "act as", "act like", "acting as", "behave as", "behave like", "pretend",
        "pretending", "roleplay*", "role-play*", "role play*", "play the role", "simulate", "simulating",
        "imagine you", "imagine that you", "assume the role", "assume the persona", "take on the role",
        "take on the persona", "respond as", "answer as", "speak as", "operate in", "operate as",
        "running in", "put yourself in", "youre going to be", "you are going to be", "impersonate",
        "emulate", "eres", "actua como", "finge", "simula", "tu es", "vous etes", "agis comme",
        "comporte-toi", "fais semblant", "du bist", "spiele", "verhalte dich", "tu bist", "stell dir vor",
        "voce e", "aja como", "finja", "sei", "agisci come", "fai finta", "je bent", "jestes", "udawaj",
        "sen", "kamu adalah", "ban la", "ты", "представь", "притворись", "веди себя", "你是", "扮演", "假装",
        "假裝", "充当", "あなたは", "演じて", "ふりをして", "なりきって", "당신은", "너는", "역할", "척", "أنت", "تظاهر", "तुम", "आप",
        "تو",
    ]),
    (UNBOUND, &[
        "no restrictions", "no rules", "no limits", "no limitations", "no filter", "no filters",
        "no boundaries", "no constraints", "no guidelines", "no censorship", "no safety",
        "without restriction*", "without any restriction*", "without limit*", "without any limit*",
        "without filter*", "without any filter*", "without rules", "without any rules",
        "without constraints", "without any constraints", "without guidelines", "without moral*",
        "without any moral*", "without censorship", "without any censorship", "without safety",
        "without boundaries", "without any boundaries", "not bound by", "no longer bound", "broken free",
        "broken out", "do anything you want", "answer any question", "safety off", "safety filters off",
        "filters disabled", "filters are off", "filters are disabled", "safety disabled", "ignores all",
        "ignores rules", "sin restricciones", "sin limites", "sin filtros", "sin censura", "sin reglas",
        "sans restriction*", "sans aucune restriction", "sans limite*", "sans filtre*", "sans censure",
        "sans regles", "sans aucune regle", "ohne einschrankungen", "ohne jede einschrankung",
        "ohne regeln", "ohne filter", "ohne grenzen", "ohne zensur", "uneingeschrankt*", "sem restricoes",
        "sem limites", "sem filtros", "sem censura", "sem regras", "senza restrizioni", "senza limiti",
        "senza filtri", "senza censura", "senza regole", "zonder beperkingen", "zonder regels",
        "bez ogranicze*", "bez zasad", "sinirsiz", "kisitlama olmadan", "tanpa batasan", "khong gioi han",
        "без ограничений", "без правил", "без цензуры", "без фильтров", "没有限制", "不受限制", "没有任何限制", "无限制",
        "不受任何", "没有规则", "無制限", "制限のない", "制限なし", "제한 없", "제한이 없", "بدون قيود", "بلا قيود", "बिना किसी",
        "بدون محدودیت",
    ]),
    (PERSONA, &[
        "do anything now", "dan mode", "called dan", "named dan", "as dan", "you are dan",
        "you are now dan", "dan 6", "dan 11", "stan mode", "dude mode", "jailbreak mode",
        "jailbroken mode", "jailbroken", "unrestricted mode", "evil mode", "chaos mode", "anti-gpt",
        "antigpt", "aim mode", "betterdan", "modo desarrollador", "modo dios", "mode developpeur",
        "entwicklermodus", "modo desenvolvedor", "modalita sviluppatore", "режим разработчика",
        "режим бога", "开发者模式", "開発者モード", "越狱模式", "越狱", "脱獄", "개발자 모드", "탈옥", "وضع المطور", "डेवलपर मोड",
    ]),
    (AUTHORITY, &[
        "i am your developer", "i am your creator", "i am the developer", "i am the administrator",
        "i am an administrator", "i am your administrator", "im your developer", "im the developer",
        "im the administrator", "as your developer", "as your creator", "as your administrator",
        "as the administrator", "as the system administrator", "i am from openai", "i am from anthropic",
        "i work at openai", "i work for openai", "i work for anthropic", "admin override",
        "administrator override", "system override", "developer override", "security override",
        "emergency override", "override code", "override protocol", "i hereby authorize",
        "system administrator here", "this is the system administrator", "this is your developer",
        "message from the developer*", "message from openai", "message from the system",
        "soy tu desarrollador", "soy el administrador", "je suis ton developpeur",
        "je suis l administrateur", "ich bin dein entwickler", "ich bin der administrator",
        "sou o administrador", "я твой разработчик", "я администратор", "我是你的开发者", "我是管理员", "私は開発者",
        "나는 관리자",
    ]),
    (OBEY, &[
        "never refuse", "never say no", "never decline", "cannot refuse", "can not refuse", "cant refuse",
        "must not refuse", "do not refuse", "dont refuse", "will not refuse", "without refusing",
        "must comply", "must obey", "obey me", "obey my", "obey all", "obey every", "comply with all",
        "comply with any", "comply with every", "answer every", "no matter how illegal",
        "no matter how unethical", "illegal or unethical", "unethical or illegal", "immoral or illegal",
        "without disclaimers", "no disclaimers", "stay in character", "do not add any warnings",
        "absolutely, here", "absolutely! here", "start your reply with", "begin your response with",
        "start your response with", "nunca te niegues", "ne refuse jamais", "verweigere nie",
        "никогда не отказывай*", "绝不拒绝", "不得拒绝", "決して断らない", "절대 거절",
    ]),
    (SHOW, &[
        "reveal", "reveals", "show", "print", "printing", "repeat", "repeating", "output", "display",
        "tell me", "tell us", "give me", "leak", "disclose", "recite", "dump", "write out", "write down",
        "spell out", "reproduce", "verbatim", "word for word", "muestra*", "revela*", "imprime", "repite",
        "dime", "cual es", "montre*", "affiche*", "revele*", "repete*", "dis-moi", "quel est",
        "quelles sont", "donne-moi", "zeig*", "gib", "verrate", "nenne", "wiederhole", "drucke", "was ist",
        "wie lautet", "mostre", "revele", "diga", "repita", "qual e", "mostra*", "rivela*", "ripeti*",
        "dimmi", "qual", "toon", "onthul", "pokaz", "ujawnij", "goster", "soyle", "tampilkan", "tunjukkan",
        "hien thi", "tiet lo", "cho toi biet", "покажи*", "раскрой*", "выведи*", "повтори*", "напечатай*",
        "скажи*", "расскажи", "告诉我", "显示", "顯示", "透露", "输出", "打印", "重复", "展示", "泄露", "是什么", "教えて", "表示",
        "出力", "見せて", "明かして", "보여", "알려", "출력", "말해", "공개", "اعرض", "أظهر", "اكشف", "اطبع", "أخبرني",
        "दिखाओ", "दिखाएं", "बताओ", "बताएं", "प्रकट", "نشان بده",
    ]),
    (HIDDEN_TEXT, &[
        "your system prompt*", "the system prompt*", "full system prompt*", "entire system prompt*",
        "system prompt verbatim", "your initial prompt", "your original prompt", "your hidden prompt",
        "hidden prompt*", "your system message*", "the system message*", "your system instruction*",
        "your initial instruction*", "your original instruction*", "your hidden instruction*",
        "your secret instruction*", "your developer message", "the developer message", "your pre-prompt",
        "your preprompt", "your tool definitions", "your tools schema", "prompt del sistema", "tu prompt",
        "instrucciones del sistema", "mensaje del sistema", "prompt systeme", "ton prompt", "votre prompt",
        "instructions systeme", "message systeme", "systemprompt*", "system-prompt*", "deinen prompt",
        "systemnachricht", "prompt do sistema", "instrucoes do sistema", "prompt di sistema",
        "istruzioni di sistema", "systeemprompt", "prompt systemowy", "sistem komut*", "sistem istemi*",
        "prompt sistem", "instruksi sistem", "loi nhac he thong", "системный промпт", "системного промпта",
        "системную инструкцию", "системные инструкции", "系统提示*", "系統提示*", "系统指令", "你的提示词", "初始指令",
        "システムプロンプト", "システム指示", "初期指示", "시스템 프롬프트", "시스템 지시", "موجه النظام", "تعليمات النظام",
        "सिस्टम प्रॉम्प्ट", "دستورات سیستم",
    ]),
    (MARKUP, &[
        "<|im_start|>*", "<|im_end|>*", "<|system|>*", "<|user|>*", "<|assistant|>*", "<|endoftext|>*",
        "<|eot_id|>*", "<|start_header_id|>*", "<|end_header_id|>*", "<|begin_of_text|>*", "<|channel|>*",
        "[inst]*", "[/inst]*", "<<sys>>*", "<</sys>>*", "[system]*", "[/system]*", "[system message]*",
        "[system prompt]*", "### system*", "###system*", "### instruction*", "###instruction*",
        "<system_prompt>*", "</system_prompt>*", "<important>*", "\"role\": \"system\"*",
        "\"role\":\"system\"*", "<start_of_turn>*", "<end_of_turn>*", "</user_input>*", "begin system*",
        "end of system*", "new system message*",
    ]),
    (BREAKOUT, &[
        "end of user input", "end of input", "end of prompt", "end of context", "end of conversation",
        "end of system prompt", "end of instructions", "begin new instructions", "system: you",
        "system: ignore*", "system: new*", "assistant: sure", "assistant: ok*", "assistant: of course",
        "assistant: i will", "----- end", "---end", "=== end", "\"\"\" end",
    ]),
    (SEND, &[
        "send", "sends", "forward", "post", "upload", "exfiltrate", "exfiltrating", "email", "e-mail",
        "transmit", "deliver", "submit", "append", "embed", "make a request", "make a get request",
        "make an http", "http request", "fetch", "curl", "wget", "envia", "enviar", "envoie", "envoyez",
        "sende", "schicke", "sende*", "invia", "stuur", "wyslij", "gonder", "kirim", "gui", "отправь*",
        "пошли", "перешли", "发送", "發送", "送信", "送って", "보내", "전송", "أرسل", "भेजो", "भेजें", "بفرست",
    ]),
    (VALUABLES, &[
        "api key*", "api-key*", "apikey*", "api_key*", "passwd", "/etc/passwd", "/etc/shadow",
        "credential*", "secret key*", "secrets", "access token*", "auth token*", "bearer token*",
        "private key*", "ssh key*", "id_rsa", ".ssh", ".env", "environment variable*", "env vars",
        "conversation history", "chat history", "entire conversation", "whole conversation",
        "this conversation", "all emails", "all messages", "customer data", "user data", "personal data",
        "credit card*", "session cookie*", "database dump", "contents of the file*", "mcp.json",
        "aws_secret*", "contrasena*", "mot de passe", "mots de passe", "passwort*", "passworter", "senha*",
        "clave api", "cle api", "api-schlussel", "пароль", "пароли", "ключ*", "密码", "密碼", "密钥", "パスワード",
        "비밀번호", "كلمة المرور", "पासवर्ड",
    ]),
    (OUTSIDE, &[
        "http://*", "https://*", "attacker*", "evil.*", "webhook*", "pastebin*", "ngrok*",
        "burpcollaborator*", "interactsh*", "requestbin*", "this url", "this address", "my server",
        "external server", "remote server", "following url", "this endpoint", "@evil*", "@attacker*",
        "@proton*", "@gmail*", "my email", "following address", "to me at",
    ]),
    (CONCEAL, &[
        "do not tell the user", "dont tell the user", "do not inform the user", "dont inform the user",
        "do not mention this", "dont mention this", "do not mention that", "dont mention that",
        "do not mention these", "without telling the user", "without informing the user",
        "without asking the user", "without notifying the user", "without user confirmation",
        "do not ask for confirmation", "dont ask for confirmation", "do not reveal that",
        "do not disclose that", "do not let the user", "dont let the user", "hide this from",
        "keep this secret", "keep this hidden", "the user must not", "the user should not see",
        "the user must not see", "do not show this", "invisible to the user", "sin decirle al usuario",
        "no se lo digas al usuario", "sans le dire a l utilisateur", "ohne den benutzer",
        "sag dem benutzer nicht", "не говори пользователю", "不要告诉用户", "ユーザーには", "사용자에게 알리지",
    ]),
    (ADDRESSED, &[
        "if you are an ai", "if you are a language model", "if you are an llm",
        "if you are a large language model", "if youre an ai", "attention ai", "attention assistant",
        "attention llm", "attention all ai*", "note to ai", "note to the ai", "note to llm*",
        "note to assistant", "note to the assistant", "hey assistant", "dear ai", "dear assistant",
        "ai agents must", "ai assistants must", "ai assistant must", "assistant must",
        "instructions for the ai*", "instructions for ai*", "instructions for the assistant",
        "instructions for the model", "instruction for llm*", "important instruction*",
        "important: the assistant", "important message for", "when summarizing this",
        "when you summarize this", "when summarising this", "when reading this", "when processing this",
        "when you read this", "any ai reading this", "ai reading this", "llm reading this",
        "model reading this", "before using this tool", "before calling this tool",
        "before you use this tool", "whenever this tool is", "this tool requires", "prerequisite for",
        "when this tool is called", "an den assistenten", "si eres una ia", "si tu es une ia",
        "wenn du eine ki", "wenn du ein sprachmodell", "se voce e uma ia", "если ты ии", "如果你是",
    ]),
    (ACT, &[
        "run", "execute", "executing", "call", "invoke", "use the tool", "use your", "call the tool",
        "launch", "eval", "system(", "delete", "remove", "purge", "drop", "transfer", "wire", "grant",
        "approve", "merge", "ejecuta", "fuhre", "выполни*", "执行", "執行", "実行", "실행", "نفذ", "चलाओ",
    ]),
    (DESTRUCTIVE, &[
        "rm -rf*", "sudo rm*", "drop table*", "drop database*", "truncate table*", "; shutdown*", "mkfs*",
        "dd if=*", ":(){*", "| sh*", "|sh", "| bash*", "|bash*", "bash -i*", "nc -e*", "/bin/sh*",
        "/bin/bash*", "powershell -enc*", "os.system*", "subprocess*", "chmod 777*", "curl -s*",
        "wget -q*", "all files", "all records", "all users", "all data", "entire database", "all emails",
        "all funds", "admin privileges", "admin access", "root access", "all permissions", "full access",
    ]),
    (DECODE, &[
        "decode this", "decode the following", "decode and", "decode it and", "base64 and",
        "base64 decode", "decrypt this", "decrypt the following", "the following base64",
        "following encoded", "rot13 and", "translate from base64", "hex decode", "decode then",
    ]),
    (FREE_MACHINE, &[
        "unrestricted ai", "unrestricted assistant", "unrestricted language", "unrestricted model",
        "unrestricted chatbot", "unfiltered ai", "unfiltered assistant", "unfiltered model",
        "unfiltered chatbot", "uncensored ai", "uncensored assistant", "uncensored model",
        "uncensored chatbot", "unethical chatbot", "unethical ai", "unethical assistant", "amoral",
        "evil ai", "evil assistant", "evil bot", "evilbot", "evil version of yourself", "evil confidant",
        "malicious ai", "rogue ai", "unaligned ai", "no ethical*", "no moral*", "no content policy",
        "no ethics", "without any ethic*", "without ethic*", "without any moral*", "you can do anything",
        "you can say anything", "can say anything", "you can answer anything", "you have no restrictions",
        "you have no rules", "you have no limits", "you have no filters", "you are free from",
        "you are unrestricted", "you are not restricted",
    ]),
    (BE, &[
        "you are", "youre", "become", "switch to", "switch into", "enter", "enable", "enabled", "activate",
        "activated", "unlock", "turn on", "engage", "your name is", "you will be", "turn off", "disable",
    ]),
    (MODE, &[
        "developer mode", "dev mode", "god mode", "godmode", "sudo mode", "root mode", "debug mode",
        "maintenance mode", "admin mode", "opposite mode", "machiavellian", "test mode", "training mode",
    ]),
    (TEXT_ABOVE, &[
        "the text above", "everything above", "all the text above", "words above", "the content above",
        "the above text", "the prompt above", "instructions above", "prior to this message",
        "before this message", "before this conversation", "at the top of this conversation",
        "your guidelines", "your internal*", "your configuration",
    ]),
    (ASK, &[
        "what is", "whats", "what are", "what was", "what were", "summarize", "summarise", "translate",
        "encode", "list", "provide", "include", "describe", "share", "quote", "copy", "paste",
    ]),
    (XML_MARKUP, &[
        "</user>*", "</input>*", "</data>*", "</document>*", "</context>*", "<instructions>*", "<system>*",
        "</system>*", "<admin>*", "[admin]*", "{{system}}*", "system:", "### human*", "### assistant*",
        "role: system", "end of document", "end of text", "end of data",
    ]),
    (ATTACKER, &[
        "attacker*", "evil.*", "@evil*", "@attacker*", "pastebin*", "ngrok*", "burpcollaborator*",
        "interactsh*", "requestbin*", "webhook.site*", "my server", "my email",
    ]),
    (WEAK_DROP, &[
        "cancel", "skip", "drop", "wipe", "erase", "void", "revoke", "overwrite", "scrap", "discard",
        "dismiss", "abandon", "delete", "clear", "reset", "turn off", "disable",
    ]),
    (OWN_INSTRUCTIONS, &[
        "your instruction*", "your prompt", "instructions you were given", "instructions you received",
        "instructions you have been given", "instructions given to you", "your exact instruction*",
        "your custom instruction*", "tus instrucciones", "tes instructions", "vos instructions",
        "deine anweisungen", "deine instruktionen", "suas instrucoes", "le tue istruzioni",
        "jouw instructies", "swoje instrukcje", "свои инструкции", "твои инструкции", "你的指令", "あなたの指示",
        "تعليماتك", "अपने निर्देश", "hidden instruction*", "secret instruction*", "system instructions",
        "initial prompt",
    ]),
    (VERBATIM, &[
        "verbatim", "word for word", "in a code block", "starting with", "include everything",
        "exactly as", "letter by letter", "without changes", "in full",
    ]),
];
