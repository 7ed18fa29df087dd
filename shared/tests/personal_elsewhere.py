"""Columns as others have named them: public schemas in five languages and the fields of well-known APIs.

One table a paragraph: its stream; its personal columns, each with what it holds; its other columns. There are no values.
Bare house numbers, `numero`, count as personal and are not found.

When the detector first saw the list (2026-11-21) its precision was 0.984 and its recall 0.882; since then it knows more
words, in general ones of the same kinds, and takes the parts of a path and compounds apart.
"""

from icetap.records.personal.names import Kind

from .personal_sample import Labelled

_KINDS = {
    "A": {Kind.ADDRESS},
    "B": {Kind.BIRTH},
    "D": {Kind.DOCUMENT},
    "E": {Kind.EMAIL},
    "F": {Kind.CPF},
    "I": {Kind.IBAN, Kind.IP},
    "P": {Kind.PERSON},
    "T": {Kind.PHONE},
}

_TABLES = """
tbl_mitarbeiter | Name:P Vorname:P Geburtsdatum:B Telefonnummer:T | MA_ID Einkommen
t_mitarbeiter | vorname_mitarbeiter:P nachname_mitarbeiter:P geburtsdatum_mitarbeiter:B | id_mitarbeiter
    passwort_mitarbeiter aktiv_mitarbeiter
Mitarbeiter | Strasse:A PLZ:A Telefon:T E-Mail:E Geburtsdatum:B | ID Ort Position EintrittDatum Gehalt Rentenbeginn
    Alter Geschlecht
Benutzer | Benutzername:P | PasswortHash Salt
Angestellter | PersonalSSN:D Vorname:P Nachname:P Straße:A Hausnummer:A PLZ:A Geburtsdatum:B EMail:E | Titel
    Stellentyp Gehalt Station Alter
mitarbeiter | nachname:P name:P telefon:T email:E strasse:A hausnummer:A plz:A steuernummer:D iban:I kontoinhaber:P
    notfall_name:P notfall_tel:T | ort bic bank_name fuehrerschein_klassen notizen aktiv created_at deleted_at
    pin_updated_at
employees_de | geburtsname:P vorname:P strasse_hausnummer:A plz_ort:A geburtsdatum:B id_number:D | personal_number
    geschlecht
personen | name:P vorname:P geburtstag:B | personalnummer gehalt
employee_cn | idNumber:D chName:P phone:T enName:P birthday:B email:E | gender maritalStatus education
eleve | nom:P prenom:P email:E | age classe date_inscription statut
eleve2 | ele_nom:P ele_prenom:P ele_adresse:A ele_codepostal:A | ele_id ele_ville ele_promotion
Enfants | Nom:P Prenom:P DateNaissance:B IdentiteNationale:D FullName:P | EleveID Sexe Age Nationalite
eleves | date_nais:B lieu_nais:B domicile:A nom_pere:P telephone_pere:T nom_mere:P telephone_mere:T | id_eleve inscrit
    redoublant renvoye sexe photo numero_acte distance nbr_soeur profession_pere profession_mere
eleves2 | date_naissance:B lieu_naissance:B adresse:A telephone_parent:T email_parent:E parent_nom:P parent_prenom:P
    parent_telephone:T prenoms:P | matricule classe_id photo_path niveau cycle regroupement classe_label etat
paciente | nombre:P email:E telefono:T calle:A numero:A complemento:A | id distrito ciudad
paciente2 | nombre1:P nombre2:P apellido1:P apellido2:P fecha_nacimiento:B domicilio:A e_mail:E | id_paciente edad
    sexo grupo_etnico ocupacion estado_civil religion fecha_ingreso nacionalidad localidad
pacientes | nombre:P documento_identidad:D telefono:T calle:A | distrito
pacientes3 | apellidoPaterno:P apellidoMaterno:P fechaNacimiento:B rfcletras:D rfcnumeros:D | genero dominio
pacientes4 | numero_identidad:D direccion:A telefono:T | numero_expediente edad created_at
Paciente5 | firstName:P lastName:P email:E phone:T address:A | patientId city
pacientes6 | fecha_nacimiento:B nombre_via:A numero:A piso:A puerta:A codigo_postal:A tel_fijo:T | usuario_id
    num_hist_clinica tipo_via provincia municipio
patients | full_name:P dni:D email:E address:A phone:T | age development_notes created_at
tb_alunos | nome:P cpf:F data_nascimento:B endereco:A email:E telefone:T | id matricula serie_ano turma_id
aluno | rg:D endereco:A bairro:A | data_cadastro data_alteracao cidade estado
alunos | cep:A logradouro:A bairro:A complemento:A numero:A | uf
alunos2 | contato_emergencia:T responsavel:P nome_completo:P | escola_id turma necessidades_especiais medicamentos
    alergias profissao pais
alunos3 | nome_responsavel:P email_usuario:E | id_usuario criado_em atualizado_em
aluno4 | nome:P telefone:T | genero escola serie materia_preferencial dias_preferenciais
Student | firstName:P lastName:P birthDate:B cep:A street:A number:A phone:T whatsapp:T email:E | neighborhood city
booking_passengers | email:E phone:T emergency_contact_name:P emergency_contact_phone:T full_name:P birth_date:B
    document:D | dietary_restrictions booking_id passengerNumber passengerType
passengers | first_name:P last_name:P email:E passport_number:D date_of_birth:B phone_number:T name:P | passenger_id
    passport_expiry frequent_flyer_number seat_assignment meal_preference emergency_contact_relation notes nationality
guest | guestname:P guestaddress:A | guestno
hotel |  | hotelno hotelname city roomno type price datefrom dateto
HR_EMP_DATA | First_Name:P Middle_Initial:P Last_Name:P E_Mail:E Father_Name:P Mother_Name:P Mother_Maiden_Name:P
    Date_of_Birth:B SSN:D Phone:T Zip:A User_Name:P | Emp_ID Name_Prefix Gender Age_in_Yrs Weight_in_Kgs
    Date_of_Joining Quarter_of_Joining Month_Name_of_Joining Salary Last_Hike Place_Name County City State Region
    Password Withdrawls Balance
employee_payroll | EmployeeName:P Address:A PhoneNumber:T | EmployeeId Department Gender BasicPay Deductions
    TaxablePay NetPay StartDate Country
Employee | FirstName:P MiddleName:P LastName:P Birthdate:B HomePhone:T MobilePhone:T Email:E SSSNumber:D TINNumber:D
    PhilHealthNumber:D AccountNumber:I | EmployeeNumber Title Age Sex CivilStatus PresentHomeAddressId DepartmentCode
    TaxStatusCode HireDate BankNameCode CurrentSalary
Employee2 | bankAccountNumber:I nationalInsuranceNumber:D name:P zipCode:A ssn:D | employeeId salary payType payRate
    startDate bankName
soakEmployee | fname:P lname:P mi:P SSN:D | isPerm hourlyRate totalHours holiday
products |  | product_id sku name description category price created_at
inventory |  | inventory_id quantity warehouse_location last_updated
orders | customer_name:P | order_id order_date status carrier tracking_number orderNumber items total
Suppliers | ContactName:P ContactNumber:T Email:E Address:A ZipCode:A | supplier_id supplier_name SupplierName City
    State
Warehouses |  | WarehouseName Location Capacity warehouse_name
Products |  | ProductName StockQuantity SupplierID production_duration storage_amount
inventory_items |  | product_name uom min_stock manufacturer order_link manufacturing_id
company |  | description image name company_size tenant_id user_id
User | name:P email:E | role createdAt inventoryLogs
customers | billing_address:A contact_person:P email:E name:P phone:T shipping_address:A zip_code:A | city country
    credit_limit payment_terms state
Contact | FirstName:P LastName:P MailingStreet:A MailingPostalCode:A OtherStreet:A OtherPostalCode:A Phone:T
    MobilePhone:T HomePhone:T OtherPhone:T AssistantName:P AssistantPhone:T Birthdate:B Email:E Fax:T | Id AccountId
    Title Department MailingCity MailingState MailingCountry LeadSource OwnerId HasOptedOutOfEmail LastModifiedDate
    MailingLatitude EmailBouncedReason EmailBouncedDate ReportsToId Description PhotoUrl
Lead | Street:A PostalCode:A Email:E Phone:T MobilePhone:T Name:P | Company City State Country Industry Rating
    NumberOfEmployees AnnualRevenue IsConverted ConvertedDate Salutation Website
hubspot-contacts | firstname:P lastname:P email:E phone:T mobilephone:T address:A zip:A date_of_birth:B fax:T
    work_email:E hs_full_name_or_email:P | city state country company jobtitle website lifecyclestage hs_lead_status
    hs_email_optout hs_email_domain num_conversion_events hs_analytics_source hs_ip_timezone createdate
sales_order | customer_email:E customer_firstname:P customer_lastname:P customer_middlename:P customer_dob:B
    remote_ip:I x_forwarded_for:I | entity_id state status coupon_code protect_code shipping_description store_id
    customer_id base_grand_total customer_group_id email_sent customer_is_guest quote_address_id increment_id
    store_name shipping_method store_currency_code
customer_address_entity | street:A postcode:A telephone:T fax:T firstname:P lastname:P middlename:P | entity_id city
    region country_id company vat_is_valid prefix suffix
wc_order_addresses | first_name:P last_name:P address_1:A address_2:A postcode:A email:E phone:T | order_id
    address_type company city state country
res_partner | name:P street:A street2:A zip:A email:E phone:T mobile:T | vat function website lang tz color
    credit_limit is_company partner_share
hr_employee | private_email:E private_phone:T identification_id:D passport_id:D ssnid:D birthday:B place_of_birth:B
    emergency_contact:P emergency_phone:T work_email:E work_phone:T mobile_phone:T spouse_complete_name:P
    spouse_birthdate:B | department_id job_title marital children gender certificate km_home_work visa_expire
    country_of_birth
zendesk-users | name:P email:E phone:T | url time_zone locale role verified shared_phone_number_flag
    ticket_restriction organization_id suspended
stripe-charges | billing_details.name:P billing_details.email:E billing_details.phone:T
    billing_details.address.line1:A billing_details.address.postal_code:A receipt_email:E shipping.name:P
    shipping.phone:T | payment_method_details.card.brand payment_method_details.card.last4
    payment_method_details.card.exp_month receipt_url failure_message statement_descriptor
    billing_details.address.city
shopify-orders | email:E phone:T contact_email:E browser_ip:I billing_address.first_name:P billing_address.address1:A
    billing_address.zip:A shipping_address.phone:T customer.email:E customer.first_name:P client_details.browser_ip:I
    | order_number name total_price landing_site note_attributes payment_gateway_names source_name tags token
    customer.orders_count billing_address.city billing_address.country_code
users_devise | email:E current_sign_in_ip:I last_sign_in_ip:I unconfirmed_email:E | encrypted_password
    reset_password_token sign_in_count confirmation_token confirmed_at locked_at
auth_user | username:P first_name:P last_name:P email:E | password is_staff is_superuser date_joined last_login
wp_users | user_login:P user_nicename:P user_email:E display_name:P | ID user_pass user_url user_registered
    user_activation_key user_status
wp_comments | comment_author:P comment_author_email:E comment_author_IP:I | comment_ID comment_author_url
    comment_content comment_karma comment_agent comment_type
auth_logs | ip_address:I client_ip:I | user_agent event_name request_path status_code host_name method duration_ms
employees_payroll | AccountHolder:P IBAN:I SocialSecurityNo:D TaxID:D HomeAddress:A PersonalEmail:E
    Emergency_Contact_Phone:T | BankName SortCode PayGrade CostCenter Manager_ID
github-repos | owner.login:P | full_name name description default_branch html_url clone_url language stargazers_count
k8s | podIP:I hostIP:I | nodeName podName namespace container_name image restartCount
inventory_devices | ip_addr:I assigned_user_email:E | mac_address device_name phone_model serial_number hostname
    os_version
twilio-calls | to_formatted:T from_formatted:T caller_name:P | sid duration direction phone_number_sid price
    answered_by
jira-issues | reporter.emailAddress:E reporter.displayName:P assignee.displayName:P creator.emailAddress:E | summary
    status.name priority.name project.name issuetype.name components[].name key
"""


_DATES = (
    "date",
    "_at",
    "_on",
    "joined",
    "expiry",
    "updated",
    "created",
    "modified",
    "login",
    "beginn",
    "datum",
)


def _labelled():
    """Yield the columns; those that are no birth and are called as dates are dates."""
    for table in _TABLES.strip().replace("\n    ", " ").splitlines():
        stream, personal, others = (part.split() for part in table.split("|"))
        for name, kind in (each.rsplit(":", 1) for each in personal):
            type_name = "date32[day]" if kind == "B" else "string"
            yield Labelled(stream[0], name, type_name, _KINDS[kind])
        for name in others:
            is_date = any(word in name.lower() for word in _DATES)
            yield Labelled(stream[0], name, "timestamp[us]" if is_date else "string", None)


ELSEWHERE = list(_labelled())
