"""The fields of Contact that the pulls of the benchmark read, on every side the same."""

FIELDS = (
    *("Id", "IsDeleted", "MasterRecordId", "AccountId", "OwnerId"),
    *("CreatedDate", "LastModifiedDate", "SystemModstamp"),
    *("Salutation", "FirstName", "LastName", "Email", "Personal_Email__c", "Phone", "MobilePhone"),
    *("Title", "Department", "LeadSource", "LinkedIn_URL__c", "External_Id__c"),
    *("MailingStreet", "MailingCity", "MailingState", "MailingPostalCode", "MailingCountry"),
    *("Birthdate", "Customer_Since__c", "Lifetime_Value__c", "Newsletter__c", "Description"),
    "Full_Name_Length__c",
)
"""31: among them dates, datetimes, decimals, booleans, texts with newlines, and a formula."""
