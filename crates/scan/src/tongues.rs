//! The commonest forms in other languages than English: German, French, Spanish, Portuguese, Italian, Russian, Chinese, Japanese
//! and Korean, in this order, a line or two each.
//!
//! Written as people write them; made fit for folded text when they are compiled (see `rules::plain`). Letters that have an
//! accent stand with and without it. What an honest server says in its own language has to stay clear of them as in English:
//! so an order comes with its object, "ignore" with "instructions" and "tell" with "user".

/// Tells the model to disregard what it was told.
pub(crate) const IGNORE: &str = concat!(
    r"\b(?:ignorier(?:e|en|t|st)|missacht(?:e|en|et)|vergiss|vergesst|vergessen|verwirf)(?: sie)?(?: bitte)?(?: (?:alle[ns]?|die|deine|ihre|meine|diese|jede|jegliche|s[aä]mtliche[nr]?|vorherige[nr]?|vorige[nr]?|fr[uü]here[nr]?|bisherige[nr]?|obige[nr]?|vorangegangene[nr]?|anderen?)){1,5} (?:system)?-?(?:anweisung|instruktion|regel|vorgabe|richtlinie|befehl|prompt)",
    r"|\b(?:vorherig|vorig|fr[uü]her|bisherig|obig|vorangegangen)e[nr]? (?:anweisungen|instruktionen|regeln|vorgaben|befehle|prompts)(?: [^ .]{1,14}){0,3} (?:ignorier|missacht|verg[ei]ss)",
    r"|\b(?:ignore[zr]?|oublie[zr]?|n[eé]glige[zr]?|ne (?:tiens|tenez) (?:pas|plus) compte d[e']s?)(?: (?:toutes?|tous|les|tes|vos|mes|ces|des|autres)){1,4} (?:pr[eé]c[eé]dentes |anciennes |autres )?(?:instructions|consignes|directives|r[eè]gles|prompts|ordres)\b",
    r"|\b(?:ignor(?:a|e|en|ar)|olvid(?:a|e|en|ar)|descart(?:a|e|ar)|desatiend(?:a|e)|haz caso omiso de)(?: (?:de|todas?|todos?|las|los|tus|sus|mis|estas|esas|cualquier|previas|anteriores|otras)){1,5} (?:instrucciones|indicaciones|directrices|reglas|[oó]rdenes|prompts?)\b",
    r"|\b(?:ignor(?:e|a|em|ar)|esque[cç]a|esquecer|desconsider(?:e|a|ar)|descart(?:e|ar))(?: (?:de|todas?|todos?|as|os|suas|seus|tuas|estas|quaisquer|pr[eé]vias|anteriores|outras)){1,5} (?:instru[cç][oõ]es|orienta[cç][oõ]es|diretrizes|regras|ordens|prompts?)\b",
    r"|\b(?:ignora(?:re|te)?|dimentica(?:re|te)?|trascura(?:re|te)?|non (?:tenere|tener) conto delle)(?: (?:tutte|tutti|le|i|gli|tue|mie|queste|quelle|precedenti|altre)){0,4} (?:istruzioni|indicazioni|direttive|regole|ordini) (?:precedenti|che|di sistema|del|dell'|ricevute|date)",
    r"|\bignora(?:re|te)? tutt[ei] (?:le|gli|i) (?:precedenti |altre |tue )?(?:istruzioni|indicazioni|direttive|regole|ordini|prompt)\b",
    r"|(?:про)?игнорируй(?:те)?(?: (?:все|всех|всё|любые|эти|твои|свои|мои|предыдущие|прежние|прошлые|вышеуказанные|другие|системные)){1,4} (?:инструкции|указания|правила|команды|директивы|подсказки|промпты)",
    r"|(?:забудь(?:те)?|не обращай(?:те)? внимания на|отбрось(?:те)?)(?: (?:про|обо?|все|всех|всё|любые|эти|свои|предыдущие|предыдущих|прежние|прежних|прошлые|прошлых|другие)){1,4} (?:инструкци|указани|правил|команд|директив|подсказ|промпт)",
    r"|(?:忽略|无视|無視|忘记|忘掉|忘記|不要理会|不要遵守|抛开)(?:掉|你)?[^。.，,；;]{0,4}(?:之前|先前|前面|上面|上述|以上|此前|所有|一切|任何|全部|你的|您的|原有)[^。.，,；;]{0,6}(?:指令|指示|提示词|提示詞|规则|規則|命令|设定|設定)",
    r"|(?:以前|これまで|今まで|前|上記|上|すべて|全て|あらゆる|元|既存)の[^。、]{0,6}(?:指示|命令|プロンプト|指令|ガイドライン)(?:を|は)?[^。、]{0,4}(?:無視|忘れ|破棄)",
    r"|(?:이전|앞선|앞의|위의|지금까지의|기존|모든|시스템)의? ?[^ .]{0,5} ?(?:지시|명령|지침|프롬프트)[^ .]{0,4} ?(?:모두 |전부 |다 )?(?:무시|잊어|잊으)",
);

/// Tells the model to keep something from the user.
pub(crate) const CONCEAL: &str = concat!(
    r"\b(?:sag|sage|sagen|sagt|erz[aä]hle?n?|verrate?n?|erw[aä]hne?n?|teile?n?|informiere?n?)(?: [^ .]{1,12}){0,3} (?:dem|den|der|einem|gegen[uü]ber dem) (?:benutzer|nutzer|anwender)(?: [^ .]{1,12}){0,4} (?:nicht|nichts|nie|niemals)\b",
    r"|\b(?:benutzer|nutzer|anwender) (?:darf|soll|d[uü]rfen|sollen)(?: [^ .]{1,10}){0,3} (?:nichts?|nie)(?: [^ .]{1,10}){0,3} (?:wissen|erfahren|merken|bemerken)\b",
    r"|\bohne (?:dass|wissen)(?: es)? (?:der|des|die) (?:benutzer|nutzer|anwender)",
    r"|\bn(?:e |')(?:le |la |l'|en |y )?(?:dis|dites|dire|parle|parlez|parler|mentionne|mentionnez|mentionner|r[eé]v[eè]le|r[eé]v[eé]lez|r[eé]v[eé]ler|informe|informez|pr[eé]viens|pr[eé]venez)(?:[^.]{0,20}) (?:pas|rien|jamais)\b[^.]{0,30}\butilisat",
    r"|\bne (?:jamais|pas|rien) (?:le |la |l'|en )?(?:dire|parler|mentionner|r[eé]v[eé]ler|informer|pr[eé]venir)\b[^.]{0,30}\butilisat|\b[aà] l'insu de l'utilisat",
    r"|\butilisat(?:eur|rice) ne (?:doit|doivent) (?:pas|jamais|rien) (?:le |l'|en )?(?:savoir|apprendre|remarquer|[eê]tre inform)",
    r"|\b(?:no|nunca)(?: (?:se|le|lo|les|la|nada)){0,2} (?:digas|diga|cuentes|cuente|menciones|mencione|informes|informe|reveles|revele|avises|avise)\b[^.]{0,25}\bal? (?:usuario|usuaria)\b",
    r"|\bsin que (?:el|la) usuari[oa] (?:lo )?(?:sepa|se entere|se d[eé] cuenta|note)|\busuari[oa] no debe (?:saber|enterarse|darse cuenta|notar)",
    r"|\b(?:n[aã]o|nunca)(?: (?:o|lhe|se|isso|nada)){0,2} (?:diga|conte|mencione|informe|revele|avise)\b[^.]{0,25}\b(?:ao?|o|para o) (?:usu[aá]rio|utilizador)",
    r"|\bsem que o (?:usu[aá]rio|utilizador) (?:saiba|perceba|note)|\b(?:usu[aá]rio|utilizador) n[aã]o (?:deve|pode) (?:saber|perceber|descobrir)",
    r"|\b(?:non|mai) (?:lo )?(?:dire|dirlo|dite|raccontare|menzionare|menzionarlo|informare|rivelare|rivelarlo|avvisare)\b[^.]{0,25}(?:all'|l')utente|\b(?:senza che|all'insaputa del)l?'utente|\butente non deve (?:saper|sapere|accorgersi|scoprir)",
    r"|не (?:говори|сообщай|рассказывай|упоминай|раскрывай)(?:те)?[^.]{0,30} пользовател|пользователь не должен (?:об этом |этого )?(?:знать|узнать|замет)|(?:без ведома|втайне от|незаметно для) пользовател",
    r"|(?:不要|不得|切勿|请勿|别|別|禁止|不能|不可)[^。.，,；;]{0,4}(?:告诉|告訴|告知)[^。.，,；;]{0,3}(?:用户|用戶|使用者)|(?:不要|不能|别|別)(?:让|讓)(?:用户|用戶|使用者)(?:知道|发现|發現|察觉|察覺)|(?:瞒着|瞞著|背着)(?:用户|用戶|使用者)",
    r"|ユーザー?(?:に|へ|には)[^。]{0,10}(?:言わないで|伝えないで|教えないで|知らせないで|話さないで|明かさないで|言ってはいけ|伝えてはいけ|知られてはいけ|知られないよう|気づかれないよう|気付かれないよう|秘密に)",
    r"|사용자(?:에게|한테|께)(?:는)? ?[^.]{0,10}(?:말하지 ?마|말하지 ?않|알리지 ?마|알려주지 ?마|언급하지 ?마|밝히지 ?마|비밀로)|사용자가? ?(?:모르게|알지 ?못하게|눈치채지 ?못하게)",
);

/// Asks for something to be done unseen.
pub(crate) const UNSEEN: &str = concat!(
    r"\b(?:heimlich|unbemerkt)(?: [^ .]{1,14}){0,4} (?:zu )?(?:sende|sendet|senden|schick|kopier|weiterleit|weiterzuleit|[uü]bertr[aä]g|hochl[aä]d|lies|lese|l[oö]sch)",
    r"|\b(?:sende|senden|schicke?|kopiere?n?|leite|[uü]bertrage|lies|lade)(?: [^ .]{1,14}){0,3} (?:heimlich|unbemerkt)\b",
    r"|\b(?:envoie|envoyer|envoyez|copie|copier|copiez|transmets|transmettre|lis|lire|t[eé]l[eé]verse|exfiltre)(?: [^ .]{1,14}){0,5} (?:secr[eè]tement|en secret|en cachette|discr[eè]tement)\b|\b(?:secr[eè]tement|en secret|en cachette) (?:envoie|envoyer|copier|transmettre|lire|ajouter)",
    r"|\b(?:env[ií][ae]|enviar|copi[ae]|copiar|reenv[ií][ae]|lee|leer|sube|subir)(?: [^ .]{1,14}){0,5} (?:en secreto|secretamente|a escondidas|disimuladamente)\b|\b(?:en secreto|secretamente|a escondidas) (?:env[ií]|copi|reenv|lee|sube|subir)",
    r"|\b(?:envi[ea]|enviar|copi[ea]|copiar|leia|ler|encaminhe)(?: [^ .]{1,14}){0,5} (?:em segredo|secretamente|[aà]s escondidas)\b|\b(?:em segredo|secretamente|[aà]s escondidas) (?:envi|copi|leia|ler|encaminh)",
    r"|\b(?:invia|inviare|copia|copiare|inoltra|leggi|leggere|carica)(?: [^ .]{1,14}){0,5} (?:di nascosto|segretamente|in segreto)\b|\b(?:di nascosto|segretamente|in segreto) (?:invia|copia|inoltra|leggi|leggere|carica)",
    r"|(?:тайно|тайком|втайне|незаметно)(?: [^ .]{1,14}){0,3} (?:отправ|перешл|скопир|копир|прочит|читай|загруз|передай|передав)|(?:отправь|перешли|скопируй|передай)(?:те)?(?: [^ .]{1,14}){0,4} (?:тайно|тайком|втайне|незаметно)",
    r"|(?:偷偷|暗中|秘密地|悄悄)(?:地)?[^。.，,；;]{0,8}(?:发送|發送|上传|上傳|转发|轉發|复制|複製|读取|讀取|发给|发到|传给|泄露)",
    r"|(?:こっそり|密かに|ひそかに|秘密裏に)[^。、]{0,12}(?:送信|送っ|送る|転送|コピー|アップロード|読み|渡)",
    r"|(?:몰래|은밀히|은밀하게|비밀리에)[^.]{0,12}(?:보내|전송|전달|복사|업로드|읽)",
);

/// Asks for what the model was told.
pub(crate) const PROMPT: &str = concat!(
    r"\b(?:gib|gebe|geben|zeige?|sende?n?|schicke?|f[uü]ge|kopiere?n?|wiederhole?n?|verrate?n?)\b[^.]{0,30}\b(?:dein|deinen|ihren|vollst[aä]ndigen?|gesamten?|ganzen?|kompletten?)(?: [^ .]{1,14}){0,2} (?:system-?prompt|systemanweisung|systemnachricht)",
    r"|\b(?:inclus|incluez|inclure|envoie|envoyez|copie[zr]?|r[eé]v[eè]le|r[eé]v[eé]lez|affiche[zr]?|r[eé]p[eè]te|r[eé]p[eé]tez|donne[zr]?)\b[^.]{0,20}\b(?:ton|votre|tes|vos|l'int[eé]gralit[eé] du|tout le) (?:prompt|message|instructions?)(?: du| de)? syst[eè]me",
    r"|\b(?:incluye|env[ií]a|copia|revela|muestra|repite|pega|imprime)\b[^.]{0,20}\b(?:tu|tus|todo el|el contenido de tu)(?: [^ .]{1,12})? (?:prompt|mensaje|instrucciones)(?: completo| completas)?(?: de| del) (?:el )?sistema",
    r"|\b(?:inclua|envie|copie|revele|mostre|repita|cole|imprima)\b[^.]{0,20}\b(?:seu|teu|suas|todo o|o conte[uú]do do seu)(?: [^ .]{1,12})? (?:prompt|mensagem|instru[cç][oõ]es)(?: completo| completas)?(?: do| de) sistema",
    r"|\b(?:includi|invia|copia|rivela|mostra|ripeti|incolla|stampa)\b[^.]{0,20}\b(?:tuo|tue|tutto il|intero)(?: [^ .]{1,12})? (?:prompt|messaggio|istruzioni)(?: completo)?(?: di| del) sistema",
    r"|(?:включи|отправь|скопируй|раскрой|покажи|повтори|вставь|выведи|передай)(?:те)? (?:[^ .]{1,12} ){0,2}(?:свой|твой|ваш|полный|весь|целиком)(?: [^ .]{1,12})? систем[^ .]{1,6} (?:промпт|подсказк|сообщени|инструкци)",
    r"|(?:输出|輸出|发送|發送|附上|复制|複製|透露|泄露|重复|重複|粘贴|传入|告诉我)[^。.，,；;]{0,6}(?:你的|您的|完整|全部|原始)[^。.，,；;]{0,5}(?:系统提示|系統提示|系统指令|系统消息|初始指令)",
    r"|(?:あなたの|完全な|全文の|元の)[^。、]{0,4}システム(?:プロンプト|メッセージ|指示)[^。、]{0,8}(?:出力|送信|含め|コピー|繰り返|教え|貼り付け|渡)",
    r"|(?:너의|당신의|전체|완전한)[^.]{0,4}시스템 ?(?:프롬프트|메시지|지시)[^.]{0,8}(?:출력|보내|포함|복사|공개|반복|붙여|전달)",
);

/// Wants to come before every other tool.
pub(crate) const FIRST: &str = concat!(
    r"\bvor (?:allen|jedem|jeder|s[aä]mtlichen)(?: anderen)? (?:tool|werkzeug|funktion)|\bbevor (?:du|sie)(?: [^ .]{1,12}){0,2} andere[sn]? (?:tool|werkzeug)",
    r"|\bavant (?:d'(?:utiliser|appeler) )?(?:tout|toute|tous les|toutes les|chaque|n'importe quel(?:le)?)(?: autres?)? (?:outil|fonction)s?\b",
    r"|\bantes de (?:usar |utilizar |llamar a )?(?:cualquier|todas las|todos los|cada)(?: dem[aá]s)?(?: otras?| otros?)? (?:herramienta|funci[oó]n)",
    r"|\bantes de (?:usar |utilizar |chamar )?(?:qualquer|todas as|cada)(?: outras?)? (?:ferramenta|fun[cç])",
    r"|\bprima di (?:usare |utilizzare |chiamare )?(?:qualsiasi|qualunque|ogni|tutti gli)(?: altr[oia])? (?:strument|tool\b|funzion)",
    r"|(?:перед|прежде чем|до) (?:использовани[^ ]{1,3} |вызов[^ ]{1,3} |использовать |вызывать )?(?:любым|любого|любой|всеми|каждым|всех)(?: другими?| других| другого)? (?:инструмент|функци)",
    r"|(?:使用|调用|呼叫|运行|執行|执行)(?:任何|所有|一切)(?:其他|其它|别的)?(?:的)?(?:工具|函数|函式)(?:之前|以前|前)",
    r"|(?:他の|ほかの|どの|あらゆる|すべての|全ての)[^。、]{0,3}ツール[^。、]{0,8}(?:前に|先に)",
    r"|(?:다른|모든|어떤) ?(?:모든 ?)?(?:도구|툴)[^.]{0,8}(?:전에|보다 먼저|앞서)",
);

/// A tag that imitates the frame of a prompt.
pub(crate) const TAG: &str = r"<\s?/?\s?(?:wichtig|importante|важно|重要|중요)\s?>";

/// What a text must hold for the pattern to be tried: words that each of its lines needs.
pub(crate) const OF_IGNORE: &[&str] = &[
    "ignor",
    "missacht",
    "vergiss",
    "vergess",
    "verwirf",
    "oubli",
    "glige",
    "compte",
    "olvid",
    "descart",
    "desatiend",
    "omiso",
    "esque",
    "desconsider",
    "dimentica",
    "trascura",
    "conto",
    "игнорируй",
    "забудь",
    "внимания",
    "отбрось",
    "忽略",
    "无视",
    "無視",
    "忘记",
    "忘掉",
    "忘記",
    "理会",
    "遵守",
    "抛开",
    "忘れ",
    "破棄",
    "무시",
    "잊어",
    "잊으",
];
pub(crate) const OF_CONCEAL: &[&str] = &[
    "nutzer",
    "anwender",
    "utilisat",
    "usuari",
    "usuário",
    "utilizador",
    "utente",
    "пользовател",
    "用户",
    "用戶",
    "使用者",
    "ユーザ",
    "사용자",
];
pub(crate) const OF_UNSEEN: &[&str] = &[
    "heimlich",
    "unbemerkt",
    "secrètement",
    "secretement",
    "en secret",
    "secretamente",
    "cachette",
    "discrètement",
    "discretement",
    "escondidas",
    "disimulad",
    "segredo",
    "nascosto",
    "segret",
    "тайно",
    "тайком",
    "втайне",
    "незаметно",
    "偷偷",
    "暗中",
    "秘密",
    "悄悄",
    "こっそり",
    "密かに",
    "ひそかに",
    "몰래",
    "은밀",
    "비밀",
];
pub(crate) const OF_PROMPT: &[&str] = &[
    "system-prompt",
    "systemprompt",
    "systemanweisung",
    "systemnachricht",
    "système",
    "systeme",
    "sistema",
    "систем",
    "系统",
    "系統",
    "初始指令",
    "システム",
    "시스템",
];
pub(crate) const OF_FIRST: &[&str] = &[
    "vor ",
    "bevor",
    "avant",
    "antes",
    "prima di",
    "перед",
    "прежде",
    "до ",
    "工具",
    "函数",
    "函式",
    "ツール",
    "도구",
    "툴",
];
pub(crate) const OF_TAG: &[&str] = &["wichtig", "importante", "важно", "重要", "중요"];
