"""Sessions, versions, resources, limits, headers and addresses as documented."""

import re

from salesforce_pipelines_tests.local_org.conformance.documented import (
    CLIENTS,
    GET,
    GROUPAROO,
    JSON_TYPE,
    LIMIT,
    NOT_FOUND,
    OAUTH,
    POST,
    PUT,
    REST,
    RESTFORCE,
    ROOT,
    SUCCESS,
    USAGE,
    error,
    of,
    page,
    story,
)
from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    ANYTHING,
    Each,
    Having,
    Saved,
)

OAUTH_STORIES = [
    story(
        "a token by client credentials",
        RESTFORCE,
        POST(
            "/services/oauth2/token",
            200,
            {
                "access_token": re.compile(r"00D[0-9A-Za-z]{12}![\w.]{90,}"),
                "signature": re.compile(r"[A-Za-z0-9+/]{43}="),
                "scope": str,
                "instance_url": "$host",
                "id": "$host/id/$org/$user",
                "token_type": "Bearer",
                "issued_at": re.compile(r"\d{13}"),
            },
            form={
                "grant_type": "client_credentials",
                "client_id": "local-org",
                "client_secret": "local-org-secret",
            },
            session=False,
            headers={"Content-Type": JSON_TYPE, "Sforce-Limit-Info": None},
        ),
    ),
    story(
        "errors of the token endpoint are objects",
        RESTFORCE,
        POST(
            "/services/oauth2/token",
            400,
            {"error": "invalid_grant", "error_description": "expired access/refresh token"},
            form={
                "grant_type": "refresh_token",
                "refresh_token": "5Aep861no",
                "client_id": "local-org",
                "client_secret": "local-org-secret",
            },
            session=False,
        ),
        POST(
            "/services/oauth2/token",
            400,
            {"error": "unsupported_grant_type", "error_description": "grant type not supported"},
            form={"grant_type": "magic", "client_id": "local-org"},
            session=False,
        ),
        POST(
            "/services/oauth2/token",
            400,
            {"error": "invalid_client_id", "error_description": "client identifier invalid"},
            form={"grant_type": "client_credentials", "client_id": "nobody"},
            session=False,
        ),
        POST(
            "/services/oauth2/token",
            400,
            {"error": "invalid_client", "error_description": "invalid client credentials"},
            form={
                "grant_type": "client_credentials",
                "client_id": "local-org",
                "client_secret": "no",
            },
            session=False,
        ),
    ),
    story(
        "a revoked token is a session no longer",
        OAUTH,
        POST(
            "/services/oauth2/token",
            200,
            Having({"access_token": Saved("token")}),
            form={
                "grant_type": "client_credentials",
                "client_id": "local-org",
                "client_secret": "local-org-secret",
            },
            session=False,
        ),
        GET("limits", 200, ANYTHING, sends={"Authorization": "Bearer $token"}, session=False),
        POST("/services/oauth2/revoke", 200, form={"token": "$token"}, session=False),
        GET(
            "limits",
            401,
            error("INVALID_SESSION_ID", "Session expired or invalid"),
            sends={"Authorization": "Bearer $token"},
            session=False,
        ),
        POST(
            "/services/oauth2/revoke",
            400,
            Having({"error": re.compile("unsupported_token_type|invalid_token")}),
            form={"token": "$token"},
            session=False,
        ),
    ),
    story(
        "the identity of the caller",
        OAUTH,
        GET(
            "/id/$org/$user?format=json",
            200,
            Having(
                {
                    "id": "$host/id/$org/$user",
                    "asserted_user": bool,
                    "user_id": "$user",
                    "organization_id": "$org",
                    "username": str,
                    "nick_name": str,
                    "display_name": str,
                    "email": str,
                    "email_verified": bool,
                    "first_name": str,
                    "last_name": str,
                    "timezone": str,
                    "photos": {"picture": str, "thumbnail": str},
                    "mobile_phone": ANYTHING,
                    "status": Having({}),
                    "urls": Having(
                        {
                            "enterprise": re.compile(r"http.+/services/Soap/c/\{version\}/00D\w+"),
                            "metadata": re.compile(r"http.+/services/Soap/m/\{version\}/00D\w+"),
                            "partner": re.compile(r"http.+/services/Soap/u/\{version\}/00D\w+"),
                            "rest": "$host/services/data/v{version}/",
                            "sobjects": "$host/services/data/v{version}/sobjects/",
                            "search": "$host/services/data/v{version}/search/",
                            "query": "$host/services/data/v{version}/query/",
                            "recent": "$host/services/data/v{version}/recent/",
                            "profile": "$host/$user",
                            "feeds": "$host/services/data/v{version}/chatter/feeds",
                        }
                    ),
                    "active": True,
                    "user_type": "STANDARD",
                    "language": str,
                    "locale": str,
                    "utcOffset": int,
                    "last_modified_date": str,
                }
            ),
        ),
        GET(
            "/services/oauth2/userinfo",
            200,
            Having(
                {
                    "sub": "$host/id/$org/$user",
                    "user_id": "$user",
                    "organization_id": "$org",
                    "preferred_username": str,
                    "name": str,
                    "email": str,
                    "zoneinfo": str,
                    "urls": Having({"rest": str}),
                }
            ),
        ),
    ),
    story(
        "calls without a session",
        REST,
        GET(
            "limits",
            401,
            error("INVALID_SESSION_ID", "Session expired or invalid"),
            session=False,
            headers={"Content-Type": JSON_TYPE, "Sforce-Limit-Info": None},
        ),
        GET(
            "limits",
            401,
            error("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"),
            sends={"Authorization": "Basic eA=="},
            session=False,
        ),
    ),
]

ROOT_STORIES = [
    story(
        "the versions",
        REST,
        GET(
            "/services/data",
            200,
            Each(
                {
                    "label": re.compile(r"(Spring|Summer|Winter) '\d\d"),
                    "url": re.compile(r"/services/data/v\d\d\.0"),
                    "version": re.compile(r"\d\d\.0"),
                }
            ),
            session=False,
            headers={"Sforce-Limit-Info": None, "Content-Type": JSON_TYPE},
        ),
    ),
    story(
        "the resources",
        REST,
        GET(
            "",
            200,
            Having(
                {
                    "sobjects": f"{ROOT}/sobjects",
                    "query": f"{ROOT}/query",
                    "queryAll": f"{ROOT}/queryAll",
                    "limits": f"{ROOT}/limits",
                    "composite": f"{ROOT}/composite",
                    "identity": "$host/id/$org/$user",
                }
            ),
        ),
    ),
    story(
        "limits and record counts",
        REST,
        GET(
            "limits",
            200,
            Having(
                {
                    "DailyApiRequests": LIMIT,
                    "DailyBulkApiBatches": LIMIT,
                    "DailyBulkV2QueryJobs": LIMIT,
                    "DailyBulkV2QueryFileStorageMB": LIMIT,
                    "DataStorageMB": LIMIT,
                    "SingleEmail": LIMIT,
                }
            ),
        ),
        GET("sobjects/Contact/$contact", 200, ANYTHING),
        GET(
            "limits/recordCount?sObjects=Contact,OpportunityContactRole",
            200,
            {"sObjects": [{"count": int, "name": "Contact"}]},
        ),
        GET("limits/recordCount?sObjects=OpportunityContactRole", 200, {"sObjects": []}),
    ),
    story(
        "headers of every answer",
        GROUPAROO,
        GET(
            "limits",
            200,
            ANYTHING,
            headers={
                "Sforce-Limit-Info": USAGE,
                "Content-Type": JSON_TYPE,
                "Vary": "Accept-Encoding",
                "Cache-Control": "no-cache,must-revalidate,max-age=0,no-store,private",
                "X-Content-Type-Options": "nosniff",
                "X-Robots-Tag": "none",
                "Strict-Transport-Security": re.compile(r"max-age=\d+; includeSubDomains"),
                "Date": re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT"),
            },
        ),
    ),
    story(
        "addresses that lead nowhere",
        GROUPAROO,
        GET("nowhere", 404, NOT_FOUND, headers={"Sforce-Limit-Info": USAGE}),
        GET("limits", 404, NOT_FOUND, version="99.0"),
        GET("sobjects/Nothing/describe", 404, NOT_FOUND),
    ),
    story(
        "retired versions are gone",
        f"{REST}, API End-of-Life Policy",
        GET("limits", 410, Each(Having({"errorCode": str, "message": str})), version="20.0"),
        GET("limits", 410, Each(Having({"errorCode": str, "message": str})), version="30.0"),
    ),
    story(
        "methods that an address does not know",
        REST,
        PUT("limits", 405, error("METHOD_NOT_ALLOWED", str), body={}),
    ),
    story(
        "addresses that are too long",
        "Salesforce Developer Limits and Allocations, API requests",
        GET(f"query?q={'x' * 16_400}", 414, Each(Having({"errorCode": "URI_TOO_LONG"}))),
    ),
    story(
        "a slash at the end",
        CLIENTS,
        GET("limits/", 200, Having({"DailyApiRequests": LIMIT})),
        GET("query/?q=SELECT Id FROM Contact WHERE Id = '$contact'", 200, page(1, Each(ANYTHING))),
        GET("sobjects/Contact/$contact/", 200, Having({"Id": "$contact"})),
        POST("sobjects/Contact/", 201, SUCCESS, body={"LastName": "x"}),
        GET("sobjects/Contact/describe/", 200, Having({"name": "Contact"})),
    ),
    story(
        "names in any letter case, ids in their own",
        REST,
        GET(
            "sobjects/CONTACT/$contact?fields=lastname,id",
            200,
            Having({"LastName": "$name", "Id": "$contact"}),
        ),
        GET("sobjects/contact/$short", 200, Having({"Id": "$contact"})),
        GET("sobjects/contact/$other_case", 404, Each(Having({"errorCode": "NOT_FOUND"}))),
        POST("sobjects/contact", 201, SUCCESS, body={"lastNAME": "x"}),
        GET(
            "query?q=select id, lastname from contact where ID = '$contact'",
            200,
            page(1, [of("Contact", "$contact", Id="$contact", LastName="$name")]),
        ),
    ),
]
