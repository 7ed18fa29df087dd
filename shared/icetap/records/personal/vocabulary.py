"""Words of column names that say what a column holds: English, Portuguese, Spanish, French and German.

Without accents, in lower case. Runs of words are joined by `_`; which of them a name has is found in `names`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of personal data, with the words that people read."""

    EMAIL = "e-mail address"
    PHONE = "phone number"
    CARD = "payment card number"
    CPF = "Brazilian CPF number"
    CNPJ = "Brazilian CNPJ number"
    IBAN = "IBAN"
    IP = "IP address"
    PERSON = "person's name"
    BIRTH = "date of birth"
    ADDRESS = "postal address"
    DOCUMENT = "number of an identity document"


@dataclass(frozen=True, slots=True)
class Words:
    """What says that a column holds something of a kind."""

    kind: Kind
    names: frozenset[str]
    """Runs of a name's words: `card_number` is in `main_card_number`."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


def _said(kind: Kind, *texts: str) -> Words:
    return Words(kind, frozenset().union(*map(words, texts)))


SAID_BY = (
    _said(
        Kind.EMAIL,
        "email emails e_mail e_mails mail_address email_address emailaddress mailaddress work_mail",
        "correio_eletronico endereco_eletronico correo correos correo_electronico courriel courriels adresse_mail",
        "mailadresse emailadresse mel",
    ),
    _said(
        Kind.PHONE,
        "phone phones phone_number phonenumber telephone telephones tel tels mobile mobiles mobile_number cell cells "
        "cellphone cell_phone fax faxes msisdn whatsapp contact_no contact_number landline handphone mob_no ph_no",
        "telefone telefones celular celulares fone fones ddd_telefone telemovel contato_numero",
        "telefono telefonos movil moviles tlf tfno tfn",
        "numero_portable portable_numero gsm telecopie",
        "telefon telefone telefonnr rufnummer rufnr handy handynummer handynr mobil mobilnummer mobilnr mobiltelefon "
        "festnetz telefax faxnummer",
    ),
    _said(
        Kind.CARD,
        "card_number cardnumber credit_card creditcard cc_number ccnumber debit_card pan card_no card_num cc_num "
        "payment_card",
        "cartao numero_cartao cartao_credito numero_do_cartao num_cartao",
        "tarjeta tarjetas numero_tarjeta tarjeta_credito",
        "carte_bancaire carte_credit carte_bleue numero_carte num_carte cb_numero",
        "kreditkarte kreditkarten kreditkartennummer kreditkartennr kartennummer kartennr",
    ),
    _said(Kind.CPF, "cpf cpfs cpf_cnpj cpfcnpj num_cpf nr_cpf"),
    _said(Kind.CNPJ, "cnpj cnpjs num_cnpj nr_cnpj"),
    _said(
        Kind.IBAN,
        "iban ibans bank_account bankaccount account_iban bank_account_number bank_acct_num acct_iban",
        "conta_bancaria conta_corrente conta_poupanca pix_key chave_pix pix",
        "cuenta_bancaria cuenta_corriente numero_cuenta clabe interbancaria cbu",
        "compte_bancaire numero_compte rib",
        "kontonummer kontonr konto_nr konto_nummer bankverbindung bankkonto",
    ),
    _said(
        Kind.IP,
        "ip ips ip_address ipaddress ip_addr ipaddr client_ip remote_addr ipv4 ipv6 remote_ip user_ip x_forwarded_for host_ip",
        "endereco_ip direccion_ip adresse_ip",
    ),
    _said(
        Kind.PERSON,
        "first_name firstname last_name lastname middle_name middlename surname surnames forename forenames family_name "
        "given_name full_name fullname maiden_name maidenname contact_name customer_name client_name person_name "
        "patient_name employee_name holder_name cardholder cardholder_name account_holder billing_name shipping_name "
        "recipient_name user_full_name mother_name father_name guest_name student_name doctor_name fname lname mname f_name "
        "l_name m_name m_initial middle_initial contact_person emergency_contact ship_to_name bill_to_name next_of_kin",
        "nome_mae nome_pai nome_completo sobrenome nome_cliente nome_contato nome_titular nome_do_cliente primeiro_nome "
        "ultimo_nome nome_da_mae nome_do_pai nome_social apelido contato_emergencia nm_cliente nm_pessoa nm_paciente nm_aluno nm_funcionario "
        "nm_usuario nm_contato nm_mae nm_pai nm_responsavel nome_paciente nome_aluno nome_funcionario nome_usuario "
        "nome_responsavel",
        "apellido apellidos contacto_emergencia nombre_completo primer_nombre segundo_nombre",
        "prenom prenoms nom_prenom nom_complet nom_famille nom_naissance nom_usage nom_usuel nom_jeune_fille patronyme contact_urgence",
        "vorname vornamen nachname nachnamen familienname zuname geburtsname rufname mutter_name ansprechpartner notfallkontakt "
        "kontoinhaber karteninhaber",
    ),
    _said(
        Kind.BIRTH,
        "birth birth_date birthdate birthday birthdays date_of_birth dob born born_on birth_day birth_dt date_birth "
        "year_of_birth birth_year bday birthplace",
        "data_nascimento dt_nascimento nascimento data_de_nascimento dt_nasc data_nasc nasc dt_nascto nascto ano_nascimento",
        "fecha_nacimiento nacimiento fecha_nac fec_nac fnac fecha_n cumpleanos",
        "date_naissance naissance date_naiss naiss nais date_nais ddn anniversaire",
        "geburtsdatum geburtstag geburt geburtsjahr geburtsort geb_datum geb_dat gebdat geboren",
    ),
    _said(
        Kind.ADDRESS,
        "street street_address streetaddress address_line address_line1 address_line2 addressline address1 address2 line1 "
        "line2 home_address work_address postal_address mailing_address billing_address shipping_address delivery_address "
        "residence_address permanent_address current_address postal_code postalcode postcode post_code zip zips zip_code "
        "zipcode house_number house_no housenumber houseno apartment_number apt_number full_address residential_address addr "
        "addr1 addr2 addr_line1 addr_line2 street_name street_no street_number streetno po_box",
        "cep logradouro logradouros endereco enderecos rua numero_casa end_residencial endereco_residencial bairro complemento "
        "codigo_postal moradia nr_residencia numero_residencia morada",
        "direccion direcciones domicilio domicilios calle calles colonia cod_postal numero_exterior numero_interior num_ext "
        "num_int",
        "adresse adresses code_postal codepostal rue num_rue numero_rue voie adresse_postale code_post cp_ville",
        "anschrift anschriften strasse strassen str hausnummer hausnr haus_nr plz postleitzahl wohnadresse lieferadresse "
        "rechnungsadresse adresszusatz wohnort",
    ),
    _said(
        Kind.DOCUMENT,
        "ssn ssns social_security social_security_number soc_sec_no passport passport_number passport_no national_id "
        "nationalid tax_id taxid driver_license drivers_license license_number licence_number id_card_number identity_number "
        "identification_number identity_card national_insurance national_insurance_number nino taxpayer_id driver_licence "
        "drivers_licence driving_licence driving_license nhs_number aadhaar aadhar pan_number id_number passport_id identification_id ssnid civil_id personal_id "
        "medicare_number medicaid_id identity_no identity_document sss_number tin_number bsn personnummer vat_id",
        "rg cnh titulo_eleitor pis pasep pis_pasep nis ctps passaporte nr_passaporte cartao_sus cns carteira_identidade",
        "dni nif nie curp rfc cedula pasaporte seguro_social nss rut run cuil documento_identidad numero_documento "
        "num_documento nro_documento numero_identificacion cedula_identidad numero_identidad identidad_numero licencia_conducir",
        "securite_sociale num_secu numero_secu nir passeport carte_identite numero_identite identite_nationale cni permis_conduire numero_fiscal",
        "sozialversicherungsnummer svnr sv_nummer svnummer reisepass reisepassnummer personalausweis ausweisnummer ausweisnr "
        "ausweis passnummer steuer_id steuerid steuernummer steuernr steueridentifikationsnummer fuhrerschein fuehrerschein "
        "fuhrerscheinnummer versichertennummer krankenversicherungsnummer",
    ),
)
"""Said by any name that has one of these runs, unless it has a word of `ABOUT` beside it."""

PEOPLE = words(
    "user users customer customers client clients person persons people contact contacts employee employees patient "
    "patients lead leads member members guest guests driver drivers student students subscriber subscribers buyer buyers "
    "attendee attendees recipient recipients spouse holder holders staff worker workers candidate candidates applicant "
    "applicants resident residents voter voters donor donors volunteer volunteers beneficiary beneficiaries insured "
    "passenger passengers teacher teachers author authors doctor doctors nurse nurses physician physicians tenant tenants "
    "borrower borrowers guardian guardians participant participants visitor visitors player players sender "
    "manager managers rep payer payee caller callee reporter assignee creator owner owners reviewer approver requester billing shipping cashier shopper shoppers rider riders prospect prospects profile profiles individual "
    "individuals household children child kid kids emergency kin mother father bearer assistant "
    "cliente clientes usuario usuarios pessoa pessoas contato contatos funcionario funcionarios paciente pacientes aluno "
    "alunos vendedor vendedores titular titulares responsavel responsaveis colaborador colaboradores professor professores "
    "medico medicos motorista motoristas morador moradores inquilino inquilinos beneficiario beneficiarios segurado segurados "
    "dependente dependentes crianca criancas filho filhos fisica servidor servidores candidato candidatos eleitor comprador remetente destinatario mae pai "
    "conjuge cidadao cidadaos contador contribuinte "
    "empleado empleados trabajador trabajadores persona personas alumno alumnos estudiante estudiantes socio socios contacto "
    "contactos afiliado afiliados profesor profesores docente docentes huesped huespedes inquilina ciudadano ciudadanos madre "
    "padre conductor conductores nino ninos hijo hijos "
    "utilisateur utilisateurs adherent adherents salarie salaries employe employes eleve eleves etudiant etudiants personne "
    "personnes membre membres patiente patientes locataire locataires assure assures beneficiaire enseignant enseignants "
    "destinataire expediteur conjoint mere pere medecin medecins acheteur abonne abonnes enfant enfants "
    "kunde kunden mitarbeiter mitarbeiterin angestellte benutzer nutzer patienten personen schueler schuler mitglied "
    "mitglieder teilnehmer empfanger empfaenger absender lehrer arzt arzte mieter bewerber versicherte versicherter fahrer "
    "inhaber anwender besteller ehepartner kind kinder mutter vater kontakt kontakte personal"
)
"""Words for people: of streams, and beside a name."""

NAME = words("name names nome nomes nm nombre nombres nom noms namen nome_completo")
"""Words that make a person's name beside a word for a person (`nome_do_paciente`), and alone where the stream is of people."""

OF_PEOPLE = (
    _said(
        Kind.PERSON,
        "username user_name login_name screen_name displayname nickname nick alias_name pseudo pseudonyme benutzername "
        "display_name preferred_name paterno materno initials usuario login_usuario login user_login nicename responsavel responsable spouse conjuge conjoint "
        "ehepartner guardian",
    ),
    _said(
        Kind.ADDRESS,
        "address addresses adress addresse lane street_addr residence residencia residencial domicile",
    ),
    _said(
        Kind.DOCUMENT,
        "document documents documento documentos nr_documento num_documento numero_documento document_number doc_number nro_doc num_doc identificacion "
        "identidade carteira",
    ),
    _said(Kind.EMAIL, "mail mails"),
    _said(Kind.PHONE, "portable contact_tel numero_contacto"),
    _said(Kind.IBAN, "account_number account_no acct_no account_num"),
)
"""Said only where the stream is of people."""

ABOUT = words(
    "is has was count counts total sent opened clicked verified verification valid invalid validated confirmed status state "
    "type types kind template templates subject body opt optin optout enabled disabled domain provider bounce bounced campaign "
    "campaigns relation relationship flag at on by version hash hashed masked length format model brand os price cost fee rate quota plan "
    "unsubscribed notifications notification preference preferences consent server host label color colour area region country "
    "carrier required allowed limit limits date datetime timestamp id ids file files size lights bill traffic view url uri "
    "expiry expiration exp attempts score reason last4 prefix class category client_id token queue thread message messages "
    "folder text html header headers mac web site website http port index key_id manager_id ratio percent level lookup mode "
    "sid tz timezone zone app apps application platform device devices screen usage minutes calls call sms signal tower "
    "qtd quantidade tipo arquivo tamanho bandeira valido valida validado validada verificado situacao codigo_tipo sigla ddd "
    "orgao uf orgaoemissor emissao emissor validade estado municipio cidade "
    "cantidad estatus verificada enviado fecha_envio expedicion vencimiento "
    "statut verifie valide envoye etat nombre_total expiration_date "
    "anzahl bestatigt bestaetigt verifiziert gultig gueltig typ art vorlage betreff gesendet aktiv land vorwahl ablaufdatum"
)
"""What stands beside such a word when the column says something about it, and does not hold it."""

OF_THINGS = words(
    "file table column schema database db host server domain product products item items sku brand company companies firm "
    "organization organisation org business vendor supplier merchant store shop school university hospital clinic facility "
    "department dept division team group role job position project task plan program course class category tag label event "
    "campaign template page screen app application service system device model version package module feature bank city town "
    "state province country region district county street currency language role_type event_type collection index key "
    "repo repos repository repositories branch attribute property field param parameter metric rule policy process workflow queue topic job_title title drug disease "
    "procedure plan_type menu account_type logo image picture photo "
    "empresa fantasia razao produto loja escola curso cargo setor departamento cidade municipio bairro banco arquivo tabela "
    "procedimento unidade orgao "
    "producto tienda escuela puesto ciudad municipio provincia archivo tabla "
    "entreprise societe produit magasin ecole ville pays fichier commune poste service "
    "firma firmen produkt schule ort stadt abteilung datei bezeichnung land"
)
"""What has a name and is no person."""

FILLERS = words(
    "number no nr num nro numero nummer code codigo cod date datum data dt fecha fec of de da do dos das des del du la le el "
    "los ds desc descr description st tx txt vl fk pk k s personal perso pro work home business main primary secondary "
    "principal privat private alternative alt other opcional corporativo laboral fixo residencial comercial particular "
    "complet complete completo full first last middle erste zweite primer segundo segunda"
)
"""Words that say nothing by themselves; with the others they are what compounds are made of."""
