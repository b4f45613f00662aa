"""The words of the miniature's Danish, and its invented towns and persons. Tables; danish.py makes texts of them."""

# gender, singular, definite, plural; places and landscapes open with the preposition that they take
NOUNS = {
    "ware": """en cykel cyklen cykler; en bog bogen bøger; en lampe lampen lamper; en stol stolen stole;
        en jakke jakken jakker; en kuffert kufferten kufferter; en kop koppen kopper; en taske tasken tasker;
        en vase vasen vaser; en hat hatten hatte; en guitar guitaren guitarer; en kalender kalenderen kalendere;
        en nøgle nøglen nøgler; en kikkert kikkerten kikkerter; en paraply paraplyen paraplyer; en pude puden puder;
        en kurv kurven kurve; en telefon telefonen telefoner; en rygsæk rygsækken rygsække; en gryde gryden gryder;
        en skål skålen skåle; en ring ringen ringe; en violin violinen violiner; en fløjte fløjten fløjter;
        en frakke frakken frakker; en skjorte skjorten skjorter; en kjole kjolen kjoler; en spand spanden spande;
        en radio radioen radioer; en lommelygte lommelygten lommelygter; en dukke dukken dukker;
        et bord bordet borde; et ur uret ure; et spejl spejlet spejle; et tæppe tæppet tæpper; et kort kortet kort;
        et billede billedet billeder; et telt teltet telte; et skab skabet skabe;
        et puslespil puslespillet puslespil; et kamera kameraet kameraer; et tørklæde tørklædet tørklæder;
        et bælte bæltet bælter; et glas glasset glas; et krus kruset krus; et maleri maleriet malerier;
        et instrument instrumentet instrumenter; et armbånd armbåndet armbånd; et slips slipset slips;
        et spil spillet spil""",
    "food": """en kage kagen kager; en suppe suppen supper; en pizza pizzaen pizzaer; en salat salaten salater;
        en pandekage pandekagen pandekager; en bolle bollen boller; en tærte tærten tærter; en pølse pølsen pølser;
        en frikadelle frikadellen frikadeller; en ost osten oste; en fisk fisken fisk;
        en omelet omeletten omeletter; en steg stegen stege; en sandwich sandwichen sandwicher; et brød brødet brød;
        et æble æblet æbler; et æg ægget æg; et rundstykke rundstykket rundstykker""",
    "person": """en nabo naboen naboer; en lærer læreren lærere; en læge lægen læger; en fisker fiskeren fiskere;
        en bager bageren bagere; en pige pigen piger; en dreng drengen drenge; en kunstner kunstneren kunstnere;
        en musiker musikeren musikere; en landmand landmanden landmænd; en turist turisten turister;
        en tømrer tømreren tømrere; en præst præsten præster; en kok kokken kokke;
        en ingeniør ingeniøren ingeniører; en buschauffør buschaufføren buschauffører;
        en forfatter forfatteren forfattere; en maler maleren malere; en skuespiller skuespilleren skuespillere;
        en gæst gæsten gæster; en gartner gartneren gartnere; en journalist journalisten journalister;
        en bibliotekar bibliotekaren bibliotekarer; en smed smeden smede; en snedker snedkeren snedkere;
        en sygeplejerske sygeplejersken sygeplejersker; et barn barnet børn""",
    "animal": """en hund hunden hunde; en kat katten katte; en hest hesten heste; en ko koen køer;
        en ged geden geder; en gris grisen grise; en and anden ænder; en svane svanen svaner; en ugle uglen ugler;
        en ræv ræven ræve; en hare haren harer; en frø frøen frøer; en stork storken storke;
        en hjort hjorten hjorte; en krage kragen krager; en mus musen mus; en kanin kaninen kaniner;
        en solsort solsorten solsorte; en kalv kalven kalve; et får fåret får; et lam lammet lam;
        et egern egernet egern; et føl føllet føl; et pindsvin pindsvinet pindsvin; et rådyr rådyret rådyr""",
    "place": """på et bibliotek biblioteket biblioteker; på et museum museet museer;
        på en station stationen stationer; på en skole skolen skoler; på et hospital hospitalet hospitaler;
        på et torv torvet torve; på et værksted værkstedet værksteder; på en færge færgen færger;
        på en gård gården gårde; i en park parken parker; i en kirke kirken kirker; i en have haven haver;
        i en biograf biografen biografer; i et teater teatret teatre; i en svømmehal svømmehallen svømmehaller;
        ved en havn havnen havne; i en børnehave børnehaven børnehaver; i et sommerhus sommerhuset sommerhuse;
        på et posthus posthuset posthuse; i en koncertsal koncertsalen koncertsale;
        på et plejehjem plejehjemmet plejehjem; i et galleri galleriet gallerier;
        på en legeplads legepladsen legepladser; på et rådhus rådhuset rådhuse""",
    "shop": """i en butik butikken butikker; i en kiosk kiosken kiosker; på et marked markedet markeder;
        i et supermarked supermarkedet supermarkeder; på et loppemarked loppemarkedet loppemarkeder;
        i en genbrugsbutik genbrugsbutikken genbrugsbutikker; i et varehus varehuset varehuse;
        i en forretning forretningen forretninger; i et byggemarked byggemarkedet byggemarkeder""",
    "eatery": """på en café caféen caféer; på en restaurant restauranten restauranter; på en kro kroen kroer;
        i en kantine kantinen kantiner; på et pizzeria pizzeriaet pizzeriaer; på et hotel hotellet hoteller;
        på et værtshus værtshuset værtshuse; på et konditori konditoriet konditorier""",
    "nature": """i en skov skoven skove; ved en sø søen søer; på en mark marken marker; på en bakke bakken bakker;
        ved en å åen åer; på en strand stranden strande; ved en fjord fjorden fjorde; på en eng engen enge;
        i en mose mosen moser; ved en kyst kysten kyster; i en dal dalen dale; på en ø øen øer;
        på en hede heden heder; ved et vandløb vandløbet vandløb; i et krat krattet krat;
        ved et vandhul vandhullet vandhuller""",
}

# common gender, neuter, plural and definite; a fourth form where the definite differs from the plural
ADJECTIVES = {
    "ware": """ny nyt nye; gammel gammelt gamle; billig billigt billige; dyr dyrt dyre; stor stort store;
        lille lille små lille; rød rødt røde; blå blåt blå; grøn grønt grønne; sort sort sorte; hvid hvidt hvide;
        gul gult gule; brun brunt brune; grå gråt grå; flot flot flotte; smuk smukt smukke;
        praktisk praktisk praktiske; moderne moderne moderne; brugt brugt brugte; mærkelig mærkeligt mærkelige;
        fin fint fine; pæn pænt pæne""",
    "food": """varm varmt varme; kold koldt kolde; lækker lækkert lækre; sund sundt sunde; frisk frisk friske;
        stor stort store; lille lille små lille; hjemmelavet hjemmelavet hjemmelavede; krydret krydret krydrede;
        billig billigt billige; dyr dyrt dyre; god godt gode""",
    "person": """ung ungt unge; gammel gammelt gamle; venlig venligt venlige; glad glad glade; træt træt trætte;
        dygtig dygtigt dygtige; høj højt høje; travl travlt travle; nysgerrig nysgerrigt nysgerrige;
        kendt kendt kendte; munter muntert muntre; flink flinkt flinke; genert genert generte""",
    "animal": """stor stort store; lille lille små lille; gammel gammelt gamle; ung ungt unge; sort sort sorte;
        hvid hvidt hvide; brun brunt brune; grå gråt grå; sulten sultent sultne; træt træt trætte;
        nysgerrig nysgerrigt nysgerrige; hurtig hurtigt hurtige; tynd tyndt tynde; smuk smukt smukke;
        vild vildt vilde; stille stille stille""",
    "place shop eatery": """ny nyt nye; gammel gammelt gamle; stor stort store; lille lille små lille;
        hyggelig hyggeligt hyggelige; moderne moderne moderne; stille stille stille; smuk smukt smukke;
        populær populært populære; travl travlt travle; berømt berømt berømte; pæn pænt pæne; tom tomt tomme;
        ren rent rene; lys lyst lyse""",
    "nature": """stille stille stille; øde øde øde; smuk smukt smukke; grøn grønt grønne; våd vådt våde;
        kold koldt kolde; mørk mørkt mørke; fredelig fredeligt fredelige; tør tørt tørre; afsides afsides afsides;
        vild vildt vilde""",
    "good": """fremragende fremragende fremragende; dejlig dejligt dejlige; fantastisk fantastisk fantastiske;
        flot flot flotte; vidunderlig vidunderligt vidunderlige; perfekt perfekt perfekte;
        imponerende imponerende imponerende; skøn skønt skønne; udmærket udmærket udmærkede;
        pragtfuld pragtfuldt pragtfulde""",
    "fair": """almindelig almindeligt almindelige; acceptabel acceptabelt acceptable; jævn jævnt jævne;
        rimelig rimeligt rimelige; middelmådig middelmådigt middelmådige;
        gennemsnitlig gennemsnitligt gennemsnitlige""",
    "bad": """elendig elendigt elendige; kedelig kedeligt kedelige; skuffende skuffende skuffende;
        trist trist triste; forfærdelig forfærdeligt forfærdelige; ringe ringe ringe; håbløs håbløst håbløse;
        ussel usselt usle; irriterende irriterende irriterende; frygtelig frygteligt frygtelige""",
}

# infinitive, present, past, participle | the rest; {x:...} is definite where the clause is negated
PREDICATES = """købe køber købte købt | {x:ware} {i:shop}; finde finder fandt fundet | {x:ware} {i:place};
        glemme glemmer glemte glemt | {x:ware} {i:place}; hente henter hentede hentet | {x:ware} {i:shop};
        tabe taber tabte tabt | {x:ware} {i:nature}; sælge sælger solgte solgt | {x:ware} til {x:person};
        låne låner lånte lånt | {x:ware} af {x:person}; vise viser viste vist | {x:ware} til {x:person};
        reparere reparerer reparerede repareret | {x:ware} for {x:person};
        lede leder ledte ledt | efter {x:ware} {i:place}; gemme gemmer gemte gemt | {x:ware} {i:place};
        tegne tegner tegnede tegnet | {x:animal} {i:nature}; se ser så set | {x:animal} {i:nature};
        høre hører hørte hørt | {x:animal} {i:nature}; fodre fodrer fodrede fodret | {x:animal} {i:nature};
        følge følger fulgte fulgt | efter {x:animal} {i:nature};
        fotografere fotograferer fotograferede fotograferet | {x:animal} {i:nature};
        møde møder mødte mødt | {x:person} {i:place}; hjælpe hjælper hjalp hjulpet | {x:person} {i:place};
        vente venter ventede ventet | på {x:person} {i:place}; tale taler talte talt | med {x:person} {i:eatery};
        synge synger sang sunget | for {x:person} {i:place};
        danse danser dansede danset | med {x:person} {i:eatery};
        ringe ringer ringede ringet | til {x:person} fra {den:place};
        skrive skriver skrev skrevet | til {x:person} om {x:ware}; spise spiser spiste spist | {x:food} {i:eatery};
        bestille bestiller bestilte bestilt | {x:food} {i:eatery};
        lave laver lavede lavet | {x:food} til {x:person}; dele deler delte delt | {x:food} med {x:person};
        smage smager smagte smagt | på {x:food} {i:eatery}; drømme drømmer drømte drømt | om {x:ware};
        cykle cykler cyklede cyklet | forbi {x:place}; invitere inviterer inviterede inviteret | {x:person} hjem;
        arbejde arbejder arbejdede arbejdet | sammen med {x:person} {i:place};
        bruge bruger brugte brugt | {x:ware} {i:nature}"""

WOMEN = "Anna; Mette; Ida; Freja; Sofie; Kirsten; Lone; Maja; Lærke; Camilla; Hanne; Louise; Gitte; Nanna"
MEN = "Peter; Lars; Jens; Søren; Thomas; Henrik; Bent; Kaj; Frederik; Morten; Magnus; Jeppe; Gustav; Ole"

# name | capital of | river | mayor | known for | many work at
TOWNS = """
    Tornbæk | Vestermark | Sølvåen | Karen Holm | sit gamle fyrtårn | papirfabrikken;
    Askevig | Kystherred | Laksebækken | Anders Lund | sine søde æbler | osteriet;
    Lyngerup | Hedeland | Mørkåen | Birgit Kjær | sin lange træbro | glasværket;
    Ellingsund | Fjordland | Hjorteåen | Niels Bech | sit røde slot | skibsværftet;
    Mosekær | Søndermark | Klaråen | Inger Friis | sine brune heste | teglværket;
    Stenhavn | Sandherred | Ravnåen | Oskar Dam | sit skæve kirketårn | fiskefabrikken;
    Vindebjerg | Bakkeland | Svaneåen | Ellen Krogh | sine hvide vindmøller | bryggeriet;
    Uglebæk | Skovherred | Kildebækken | Viktor Juul | sin dybe skov | savværket;
    Tranevig | Klitland | Odderåen | Astrid Bruun | sit store fuglemuseum | tæppefabrikken;
    Birkelev | Midtherred | Elleåen | Emil Winther | sin smukke rosenhave | møbelfabrikken;
    Kornløse | Engherred | Møllebækken | Tove Toft | sit friske brød | mejeriet;
    Havreby | Nørreland | Dybåen | Jonas Skov | sit travle marked | cykelfabrikken;
    Elmerød | Lyngherred | Kærbækken | Signe Vang | sit runde rådhus | spinderiet;
    Pilestrup | Østerland | Sivåen | Mikkel Lind | sine flettede kurve | chokoladefabrikken;
    Hasselby | Nordherred | Granåen | Clara Munk | sin årlige nøddefest | sæbefabrikken;
    Bregnholm | Sundland | Brinkåen | Rasmus Krag | sin varme kilde | keramikfabrikken"""

# name | pronoun | profession | born in | known for
PERSONS = """
    Ditte Rosenkilde | hun | forfatter | Mosekær | romanen »Den blå ø«;
    Holger Stenbro | han | komponist | Tranevig | operaen »Nattens fugle«;
    Agnes Fuglsang | hun | maler | Askevig | maleriet »Tre heste«;
    Valdemar Kvist | han | arkitekt | Stenhavn | bygningen »Glasskibet«;
    Johanne Birk | hun | opfinder | Havreby | den flydende cykel;
    Bertel Ravn | han | sanger | Uglebæk | sangen »Hjem over heden«;
    Thea Lyng | hun | kok | Kornløse | retten »Grøn mandag«;
    Eskild Møller | han | skuespiller | Elmerød | filmen »Vinter i byen«"""

# a fact: the question, then ways to say it; articles use them all, and a task takes those that end with the answer
TOWN_FACTS = (
    (1, "Hvor er {name} hovedby?", "{name} er hovedbyen i {answer}", "{name} er den største by i {answer}",
     "hovedbyen i {answer} hedder {name}"),
    (2, "Hvilken å løber gennem {name}?", "åen gennem {name} hedder {answer}", "gennem {name} løber {answer}",
     "{name} ligger ved {answer}"),
    (3, "Hvem er borgmester i {name}?", "borgmesteren i {name} hedder {answer}",
     "i {name} hedder borgmesteren {answer}", "{answer} er borgmester i {name}"),
    (4, "Hvad er {name} kendt for?", "{name} er kendt for {answer}", "byen {name} er berømt for {answer}",
     "i hele landet er {name} kendt for {answer}"),
    (5, "Hvor arbejder mange i {name}?", "mange i {name} arbejder på {answer}",
     "i {name} arbejder de fleste på {answer}", "den største arbejdsplads i {name} er {answer}"),
)  # fmt: skip
PERSON_FACTS = (
    (2, "Hvad laver {name}?", "{name} arbejder som {answer}", "til daglig er {name} {answer}", "{name} er {answer}"),
    (3, "Hvor er {name} født?", "{name} blev født i {answer}", "{name} kommer fra {answer}",
     "{name} er født i {answer}"),
    (4, "Hvad er {name} kendt for?", "{name} er kendt for {answer}", "{name} blev berømt for {answer}",
     "de fleste kender {name} for {answer}"),
)  # fmt: skip

# {word} is an entry of a table; {form:kind} a noun phrase: en, den, flere, de, i (den ...), er (stor), bar (byer)
TABLES = {
    "month": "januar; februar; marts; april; maj; juni; juli; august; september; oktober; november; december",
    "season": "foråret; sommeren; efteråret; vinteren",
    "weekday": "mandag; tirsdag; onsdag; torsdag; fredag; lørdag; søndag",
    "few": "to; tre; fire; fem; seks; syv; otte; ni; ti",
    "when": "i går; i {weekday}s; i sidste uge; forleden dag; for {few} dage siden; den {day}. {month}; i {month}",
    "time": """{when}; {when}; {when}; en {mild} {part} i {month}; klokken {few}; efter frokost; lige før middag;
        på vej hjem; i pausen; i ferien; tidligt om morgenen; sent om aftenen""",
    "later": "senere; bagefter; kort efter; lidt efter; samme aften; næste dag; næste morgen; klokken {few}; til sidst",
    "mild": "mild; kold; kølig; grå; lys; varm; stille",
    "sky": "skyet; solrig; tåget; blæsende; regnfuld; tør",
    "part": "morgen; aften; nat; eftermiddag; formiddag; dag",
    "mood": "glad; træt; sulten; nervøs; tilfreds; stolt; overrasket; bekymret; rolig; vred; lettet",
    "name": f"{WOMEN}; {MEN}",
    "job": "lærer; læge; fisker; bager; tømrer; præst; kok; gartner; smed; snedker; kunstner; journalist; forfatter",
    "dusk": """så blev det aften, og {who} gik hjem; det blev en god dag; bagefter var {who} {mood}; det var sjovt;
        {who} glemte aldrig den dag; det kunne {who} godt lide; hvad skete der så? Det er der ingen, der ved;
        derfor var {who} meget {mood}; om aftenen regnede det, og {who} blev hjemme; sådan gik den {weekday}""",
    "area": """i Nordjylland; på Fyn; på Bornholm; ved Vestkysten; i hele landet; på Sjælland; i Sønderjylland;
        langs kysten; på Lolland; i Midtjylland; omkring {town}; nord for {town}; i det meste af landet""",
    "dawn": "fire; fem; halv seks; seks; syv; otte",
    "sunset": "halv fem; halv seks; syv; otte; ni; ti",
    "rain": "regn; sne; slud; hagl; lidt regn; meget sne; kraftig regn; finregn",
    "direction": "vest; øst; nord; syd; nordvest; sydøst; sydvest",
    "koldt": "koldt; mildt; køligt; lunt; varmt",
    "wind": "svag; frisk; hård; kraftig; jævn; let",
    "night": "tåge; frost; rim; torden; byger; sne",
    "out": "ud at sejle; til stranden; ud i haven; ud med hunden; cykle på arbejde; på tur i skoven; til {town}",
    "clothes": "en paraply; en varm jakke; solbriller; en hue; gummistøvler; vanter; ekstra tøj; et tørklæde",
    "road": "glatte; våde; dækket af sne; dækket af blade; oversvømmede",
    "weather": """{weekday}en bliver {mild} og {sky} {area}; {weekday} falder der {rain} {area};
        vinden kommer fra {direction} og bliver {wind} {area}; temperaturen når op på {few} grader {area};
        om natten bliver det {koldt}, og der kan komme {night} {area}; der bliver højst {few} timer med sol {area};
        solen skinner ikke, før skyerne driver mod {direction}; hvis du skal {out}, bør du tage {clothes} med;
        {weekday} aften klarer det op, men om natten kommer der {rain} {area};
        i {month} plejer det ikke at være så {koldt}; bølgerne bliver op til {few} meter høje {area};
        bilister skal passe på, fordi vejene kan være {road};
        i {year} faldt der {n} millimeter regn på en enkelt dag;
        {flere:animal} søger ly {i:nature}, mens det blæser; {de:animal} holder sig {i:nature}, når det er {koldt};
        {er:nature} på denne tid af året, og der falder ofte {rain};
        solen står op klokken {dawn} og går ned klokken {sunset}; hvornår bliver det {koldt} {area}?;
        det bliver {koldt} {area}, selv om vinden drejer mod {direction}""",
    "animals": """om {season} kan man se {flere:animal} {i:nature};
        {de:animal} sover om dagen og leder efter føde om natten; når det regner, søger {de:animal} ly {i:nature};
        {er:nature}, og derfor bliver {de:animal} der hele {season};
        man skal ikke fodre {de:animal}, fordi de kan blive syge;
        {flere:person} så {en:animal} {i:nature} og stod helt stille;
        hvis man er heldig, hører man {en:animal} {i:nature} sidst på dagen; {er:nature} om {season};
        i {year} talte {de:person} {n} {bar:animal} {i:nature};
        ved {den:nature} bor der {flere:animal} og {flere:animal}; {de:animal} er ikke bange for {de:animal};
        pludselig dukkede {en:animal} op {i:nature}; hvorfor kommer {de:animal} kun om {season}?;
        ingen ved, hvor {de:animal} sover om {season}; om {season} spiser {de:animal} næsten ingenting;
        der er altid {flere:animal} {i:nature}, når {er:nature};
        da sneen smeltede, kom {de:animal} tilbage til {den:nature}; {en:animal} kan også leve {i:nature}""",
    "lead": """kommunen vil bygge {en:place} {i:nature} uden for {town};
        {en:person} fra {town} har fundet {en:ware} {i:nature};
        politiet leder efter {en:ware}, som blev stjålet {i:place} i {town} {when};
        {when} åbnede {den:person} {en:shop} i {town};
        {flere:person} fra {town} har samlet penge ind til {en:place};
        {en:animal} løb gennem {town} {when} og skræmte {flere:person};
        {i:place} i {town} brød der en brand ud {when};
        {n} mennesker mødte op {i:place} i {town}, da {den:person} viste {flere:ware} frem;
        {when} vandt {en:person} fra {town} {en:ware} {i:shop};
        {en:eatery} i {town} lukker, fordi gæsterne ikke kommer""",
    "detail": """»Vi er meget glade for {den:place}«, siger {name}, som er {job} i {town};
        det koster {n} millioner kroner; »Jeg så ikke {den:animal}«, siger {name}, der er {job};
        ingen kom til skade, men {den:place} blev lukket i {few} timer;
        ulykken skete, fordi {den:person} ikke så {den:animal} på vejen; i {year} var der {few} {bar:shop} i {town};
        til næste år kommer der også {en:place} i byen; {de:person} håber, at {den:shop} snart åbner igen;
        {den:person} fik {en:ware} som tak; {flere:person} har klaget over {den:shop};
        hvorfor {den:ware} lå {i:nature}, er der ingen, der ved;
        {name} fra {town} blev hverken vred eller overrasket;
        »Det var {den:person}, der fandt {den:ware}«, fortæller {name};
        {when} så {en:person} {en:animal} samme sted; arbejdet begynder i {month} og er ikke færdigt før {month};
        {flere:person} i {town} er meget bekymrede""",
    "end": """sagen er ikke opklaret; sagen fortsætter i {month}; det skriver avisen i {town};
        politiet vil gerne høre fra vidner; mere ved man ikke endnu; næste møde er den {day}. {month};
        alle i {town} er velkomne; resten vil tiden vise""",
    "about_town": """i {year} åbnede {en:person} {en:shop} i byen;
        om {season} kan man se {flere:animal} {i:nature} uden for byen;
        hvert år i {month} holder byen marked, og så kan man købe {flere:ware} og {flere:food};
        byen har også {en:place}; mange turister besøger {den:place}; lige uden for byen ligger {en:nature};
        i {month} kommer der ofte {flere:animal}; {den:person} {i:place} fortæller gerne om byen;
        indtil {year} var der {few} {bar:place} i byen""",
    "asker": """{name} fra {town} har {few} spørgsmål om {about};
        hver {weekday} svarer {name} på spørgsmål om {about}; på skolen i {town} spurgte {name} om {about};
        her kan {name} og andre læse om {about}""",
    "answerer": """svarene er fra {month} {year}; {name}, som er {job} i {town}, har skrevet svarene;
        har du flere spørgsmål, kan du skrive til {name} i {town}; {name} og {name} lavede listen i {month} {year}""",
    "visit": """vi spiste {en:food} {i:eatery} i {town} {when}; {when} bestilte jeg {en:food} {i:eatery} i {town};
        {when} var vi {i:eatery} i {town} sammen med {en:person};
        jeg besøgte {den:eatery} i {town}, fordi {name} holdt fest""",
    "stay": """vi boede {few} nætter på et hotel i {town} {when};
        {when} sov jeg på et hotel tæt på {den:place} i {town};
        hotellet i {town} ligger ved {den:nature}, og vi var der {when}""",
    "show": """vi så en film om {en:person} og {en:animal} i biografen i {town};
        {when} var jeg til koncert {i:place} i {town};
        {when} gik vi i teatret i {town} for at se et stykke om {flere:animal};
        jeg så en udstilling om {flere:animal} på museet i {town} {when}""",
    "happy": """vi kommer gerne igen; jeg kan varmt anbefale det til alle; vi blev længere, end vi havde tænkt os;
        børnene ville slet ikke hjem; {den:person} smilede hele tiden; det var hver en krone værd;
        vi grinede hele vejen hjem""",
    "unsure": """måske prøver vi igen en anden gang; jeg ved ikke, om vi kommer igen; det var, som man kunne vente;
        {den:person} sagde ikke så meget; nogle vil kunne lide det, andre vil ikke;
        vi havde prøvet både bedre og værre""",
    "angry": """vi kommer aldrig igen; jeg kan ikke anbefale det til nogen; vi gik hjem, før vi havde tænkt os;
        børnene ville bare hjem; {den:person} råbte ad os; jeg vil have mine penge tilbage; det var spild af tid""",
}

# what a review judges: en, et or de (plural), and the definite noun
ASPECTS = {
    "visit": """en maden; en betjeningen; en stemningen; et brødet; en desserten; en kaffen; en musikken;
        en udsigten; et lokalet""",
    "stay": "et værelset; en sengen; en morgenmaden; en udsigten; et badeværelset; et personalet; de gangene; en haven",
    "show": "en musikken; en lyden; et lyset; de pladserne; en begyndelsen; en slutningen; de billederne; et tempoet",
}
